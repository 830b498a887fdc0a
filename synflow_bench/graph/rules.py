"""Rules by which the nodes of an operation's output follow from those of its inputs.

There is a rule per ATen operation, or per kind of operations: layers, element-wise functions, and what moves,
pools or reduces activations. A rule adds edges to the graph and returns the node ids of the output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from synflow_bench.graph.call import Call, TracingError
from synflow_bench.graph.graph import CONSTANT, collapse, nodes_in

Rule = Callable[[Call], Tensor | Sequence[Tensor]]
"""Returns the nodes of the (first) output, or of each of several."""


def elementwise(call: Call) -> Tensor:
    """Follow a function of single entries; in a sum or a product of activations, both sides feed a new node.

    Parameters that are multiplied are scales, which cut a node when pruned; those that are added belong to
    it, and so do the slopes of PReLU. A statistic that the network computes from several channels and
    multiplies by hand, as squeeze and excitation does, feeds all channels that it scales.
    """
    operands = [value for value in call.arguments.values() if isinstance(value, Tensor)]
    ids = reduce(call.graph.join, (call.ids(value) for value in operands if call.is_activation(value)))
    for value in operands:
        if call.is_activation(value):
            continue
        view = call.view(value)
        if view is not None and call.name == "mul":
            ids = call.graph.scale(ids, view)
        elif view is not None and call.name in {"add", "sub", "rsub", "_prelu_kernel"}:
            call.graph.add_values(ids, view)
        else:
            call.add_constant(ids, value)
    return ids


def copy(call: Call) -> Tensor:
    """Follow a copy into another tensor."""
    return call.ids(call["src"] if call.is_activation(call["src"]) else call["self"])


def convolution(call: Call) -> Tensor:
    """Follow a convolution of (N, C, ...), transposed or not, in groups or not."""
    activation, weight, groups = call["input"], call["weight"], call["groups"]
    if call.is_activation(weight):
        raise TracingError("a convolution whose weights are computed from the input")
    inputs = _along_channels(call, call.ids(activation), activation.shape[1])
    edges = weight.unflatten(0, (groups, -1))
    view = call.view(edges.transpose(1, 2) if call["transposed"] else edges)
    outputs = call.graph.add_layer(inputs, call.output.shape[1], view, groups, _active(call))
    call.add_values(outputs, call["bias"])
    return _as_channels(outputs, call.output.ndim)


def _active(call: Call) -> Tensor | None:
    """Find the kernel positions of a convolution that meet the input, and not only padding.

    Padding is that of the convolution, and whatever was padded with constants before it.

    Returns:
        Bool (G, 1, I, ...) or with sizes 1 that broadcast; None where all positions meet the input.
    """
    # (I, ...) for the inputs of all groups, with size 1 along dimensions in which all are alike.
    there = (call.ids(call["input"]) != CONSTANT).any(0)
    there |= ~there.any()  # of an input that is constant as a whole
    there = (there[:1] if bool((there == there[:1]).all()) else there).float()
    for d in range(there.ndim - 1):
        meets = _meets(call, d)
        meets = meets.any(1, keepdim=True) if there.shape[1] == 1 else meets
        # The dimension of input positions goes, that of kernel positions comes last.
        there = torch.tensordot(there, meets.float(), dims=([1], [1]))
    active = there > 0
    if bool(active.all()):
        return None
    return active.view(1 if len(active) == 1 else call["groups"], 1, -1, *active.shape[1:])


def _meets(call: Call, dimension: int) -> Tensor:
    """Return the input positions that each kernel position meets along a dimension, (kernel, input) bool."""
    stride, padding, dilation = (
        sizes[dimension if len(sizes) > 1 else 0]
        for sizes in (call["stride"], call["padding"], call["dilation"])
    )
    kernel, inputs, outputs = (
        tensor.shape[2 + dimension] for tensor in (call["weight"], call["input"], call.output)
    )
    taps, places = torch.arange(kernel)[:, None], torch.arange(inputs)
    if call["transposed"]:
        targets: Tensor = places * stride - padding + taps * dilation
        return (targets >= 0) & (targets < outputs)
    starts: Tensor = places + padding - taps * dilation
    meets: Tensor = (starts >= 0) & (starts % stride == 0) & (starts < outputs * stride)
    return meets


def matrix_product(call: Call) -> Tensor:
    """Follow (B, N, K) times (B, K, M), or without B; `bias` is added where there is one."""
    first, second = {"addmm": ("mat1", "mat2"), "baddbmm": ("batch1", "batch2")}.get(
        call.name, ("self", "mat2")
    )
    left, right = call[first], call[second]
    if call.is_activation(left) and call.is_activation(right):
        # Entry (n, m) depends on row n of the one and on column m of the other.
        merge = call.graph.merge
        product = call.graph.join(merge(call.ids(left), [-1]), merge(call.ids(right), [-2]))
    elif call.is_activation(left):
        product = _weighted_sums(call, call.ids(left), left.shape, right.transpose(-1, -2))
    elif call.is_activation(right):
        transposed = call.ids(right).transpose(-1, -2)
        product = _weighted_sums(call, transposed, right.transpose(-1, -2).shape, left).transpose(-1, -2)
    else:
        raise TracingError(f"aten.{call.name} whose bias alone is computed from the input")
    bias = call["self"] if call.name in {"addmm", "baddbmm"} else None
    if bias is not None and call.is_activation(bias):
        return call.graph.join(product, call.ids(bias))
    call.add_values(product, bias)
    return product


def _weighted_sums(call: Call, ids: Tensor, shape: tuple[int, ...], weight: Tensor) -> Tensor:
    """Follow (B, N, K) activations times (B, M, K) weights, transposed, or without B.

    Returns:
        Node ids (B, 1, M), or (1, M) without B.
    """
    if weight.ndim == 3 and (weight.shape[0] == 1 or weight.stride(0) == 0) and ids.shape[0] == 1:
        weight = weight[0]
    groups = weight.shape[0] if weight.ndim == 3 else 1
    if groups > 1 and weight.stride(0) == 0:
        raise TracingError(f"aten.{call.name} with one weight for several kinds of nodes")
    merged = call.graph.merge(ids, range(ids.ndim - 1) if groups == 1 else [1])
    inputs = merged.expand(*merged.shape[:-1], shape[-1])
    if groups > 1:
        inputs = inputs.expand(groups, 1, shape[-1])
    edges = weight if weight.ndim == 3 else weight.unsqueeze(0)
    outputs = call.graph.add_layer(inputs.reshape(-1), groups * weight.shape[-2], call.view(edges), groups)
    return outputs.view(*(() if ids.ndim == 2 else (groups,)), 1, weight.shape[-2])


def embedding(call: Call) -> Tensor:
    """Follow a table of embeddings as a linear layer of one-hot tokens, any of which a place can be."""
    indices, weight = call["indices"], call["weight"]
    if not call.is_activation(indices) or call.is_activation(weight):
        raise TracingError("an embedding whose table is computed from the input")
    places = call.graph.merge(call.ids(indices), range(indices.ndim))
    tokens = call.graph.add_nodes(weight.shape[0])
    call.graph.add_edges(places.flatten().expand(len(tokens)), tokens)
    call.graph.fix(tokens)
    features = call.graph.add_layer(tokens, weight.shape[1], call.view(weight.t().unsqueeze(0)), 1)
    return features.view(*[1] * indices.ndim, -1)


def batch_norm(call: Call) -> Tensor:
    """Follow batch norm of (N, C, ...), which treats every channel by itself."""
    ids = call.ids(call["input"])
    return _normalized(call, ids, partial(_as_channels, dimensions=ids.ndim))


def group_norm(call: Call) -> Tensor:
    """Follow group norm of (N, C, ...): the channels of a group share their statistics and stay together."""
    ids = call.ids(call["input"])
    channels = ids.expand(-1, call["input"].shape[1], *[-1] * (ids.ndim - 2))
    for members in channels.chunk(call["group"], 1):
        call.graph.mix(members, range(ids.ndim))
    return _normalized(call, ids, partial(_as_channels, dimensions=ids.ndim))


def layer_norm(call: Call) -> Tensor:
    """Follow layer norm or RMS norm over the last dimensions, whose nodes all stay together."""
    ids = call.ids(call["input"])
    call.graph.mix(ids, range(-len(call["normalized_shape"]), 0))
    return _normalized(call, ids, lambda values: values)


def _normalized(call: Call, ids: Tensor, shaped: Callable[[Tensor], Tensor]) -> Tensor:
    weight, bias = call["weight"], call["bias"]
    for statistic in (call["running_mean"], call["running_var"]):
        call.add_values(ids, None if statistic is None else shaped(statistic))
    view = None if weight is None else call.view(shaped(weight))
    scaled = ids if view is None else call.graph.scale(ids, view)
    call.add_values(scaled, None if bias is None else shaped(bias))
    return scaled


def _along_channels(call: Call, ids: Tensor, size: int) -> Tensor:
    """Return the nodes along dimension 1, (size,)."""
    others = [d for d in range(ids.ndim) if d != 1]
    return call.graph.merge(ids, others).flatten().expand(size)


def _as_channels(values: Tensor, dimensions: int) -> Tensor:
    return values.view(1, -1, *[1] * (dimensions - 2))


def lookup(call: Call) -> Tensor | list[Tensor]:
    """Follow indices; those that are computed feed what they find, and so does all that they choose from."""
    given = call["indices"] if call.name == "index" else [call["index"]]
    computed = [value for value in given if call.is_activation(value)]
    if not computed:
        return move(call)
    if any(value is not None and value.dtype in {torch.bool, torch.uint8} for value in given):
        raise TracingError(f"aten.{call.name} by a mask that is computed from the input")
    source = call["self"]
    over = (
        [call["dim"] % source.ndim]
        if call.name != "index"
        else [d for d, g in enumerate(given) if g is not None]
    )
    found = torch.full([1] * call.output.ndim, CONSTANT)
    if call.is_activation(source):
        merged = _chosen(call, call.ids(source), over)
        if call.name == "index":
            # All along the dimension are the same: any index finds them.
            merged = merged.expand([n if d in over else merged.shape[d] for d, n in enumerate(source.shape)])
            firsts = [None if value is None else torch.zeros(value.shape).long() for value in given]
            merged = torch.ops.aten.index.Tensor(merged, firsts)
        elif call.name == "gather":
            merged = merged[tuple(slice(size) for size in call.output.shape)]
        found = collapse(merged)
    else:
        call.graph.opaque |= call.tensors.names(source)
    for value in computed:
        ids = call.ids(value)
        if call.name == "index":
            ids = call.graph.merge(ids, range(ids.ndim)).flatten()[:1]
        elif call.name == "index_select":
            ids = ids.view([-1 if d in over else 1 for d in range(source.ndim)])
        found = call.graph.join(found, ids)
    return found


def _chosen(call: Call, ids: Tensor, over: Sequence[int]) -> Tensor:
    """Return one node in place of all along dimensions; where they differ, none can be sliced away."""
    if any(ids.shape[d] > 1 for d in over):
        call.graph.fix(ids)
    return call.graph.merge(ids, over)


def move(call: Call) -> Tensor | list[Tensor]:
    """Apply the operation to the node ids themselves: the node of an entry goes where the entry goes."""
    arguments = tree_map(partial(_ids_for, call), dict(call.arguments))
    if call.name in {"view", "_unsafe_view"}:
        if call["size"] is None:
            raise TracingError("a view as another type")
        moved: Any = arguments["self"].reshape(call.output.shape)
    elif call.name == "constant_pad_nd":
        moved = torch.constant_pad_nd(arguments["self"], arguments["pad"], CONSTANT)
    else:
        packet = getattr(torch.ops.aten, call.name)
        moved = getattr(packet, call.operation._overloadname)(**arguments)
    parts = [collapse(part) for part in (moved if isinstance(moved, list | tuple) else [moved])]
    values = [v for value in call.arguments.values() for v in (value if isinstance(value, list) else [value])]
    sources = [value for value in values if call.is_activation(value)]
    if len(sources) == 1:
        source = nodes_in(call.ids(sources[0]))
        if any(
            sum(size > 1 for size in part.shape) > 1 or not torch.equal(nodes_in(part), source)
            for part in parts
        ):
            call.graph.fix(source)
    return parts if isinstance(moved, list | tuple) else parts[0]


def _ids_for(call: Call, value: Any) -> Any:
    """Return node ids in place of a tensor, other arguments and indices as they are."""
    if not isinstance(value, Tensor):
        return value
    if call.is_activation(value):
        return call.ids(value).expand(value.shape)
    if call.name in {"gather", "index", "index_select"} and value is not call["self"]:
        return value.cpu()
    call.graph.opaque |= call.tensors.names(value)
    return torch.full(value.shape, CONSTANT)


def pool(call: Call, dimensions: int) -> Tensor:
    """Follow pooling or resampling of the last `dimensions`, which keeps channels apart."""
    ids = call.ids(call["self"] if call["self"] is not None else call["input"])
    return call.graph.merge(ids, range(-dimensions, 0))


def reduction(call: Call) -> Tensor:
    """Follow a sum, mean, maximum or the like over some dimensions; over all when none is named."""
    ids = call.ids(call["self"])
    named = call["dim"]
    over = [named] if isinstance(named, int) else list(named or range(ids.ndim))
    merged = call.graph.merge(ids, over) if ids.ndim else ids
    return merged if merged.ndim == call.output.ndim else merged.squeeze(tuple(over))


def condition(call: Call) -> Tensor:
    """Follow a number that the network reads of its input alone, to decide what to do, as by its shape."""
    ids = call.ids(call["self"])
    if call.graph.weighs(ids):
        raise TracingError(f"aten.{call.name}")
    return ids


def choice(call: Call) -> Tensor:
    """Follow what is chosen among all nodes along a dimension, such as the largest, or put in order."""
    ids, dimension = call.ids(call["self"]), call["dim"]
    if not ids.ndim:
        return ids
    if dimension is None and call.name in {"argmax", "argmin"}:
        return _chosen(call, ids, range(ids.ndim)).view([1] * call.output.ndim)
    over = -1 if dimension is None else dimension
    merged = _chosen(call, ids, [over])
    return merged if merged.ndim == call.output.ndim else merged.squeeze(over)


def cumulation(call: Call) -> Tensor:
    """Follow a sum, maximum or the like of all entries so far along a dimension."""
    ids, dimension = call.ids(call["self"]), call["dim"]
    if not ids.ndim or ids.shape[dimension] == 1:
        return ids
    call.graph.fix(ids)
    return torch.cat(list(accumulate(torch.split(ids, 1, dimension), call.graph.join)), dimension)


def softmax(call: Call) -> Tensor:
    """Keep every node; those that share the sum stay or go together."""
    ids = call.ids(call["self"])
    call.graph.mix(ids, [call["dim"]])
    return ids


def gated_linear_unit(call: Call) -> Tensor:
    """Follow a gated linear unit: the first half of a dimension times the sigmoid of the second."""
    source, dimension = call["self"], -1 if call["dim"] is None else call["dim"]
    ids = call.ids(source).expand(source.shape)
    call.graph.fix(ids)
    first, second = ids.chunk(2, dimension)
    return collapse(call.graph.join(first, second))


def restride(call: Call) -> Tensor:
    """Follow another memory layout of the same entries, which is certain for one long dimension only."""
    source = call["self"]
    if tuple(call["size"]) != tuple(call.ids(source).expand(source.shape).shape) or (
        sum(size > 1 for size in source.shape) > 1
    ):
        raise TracingError("aten.as_strided")
    return call.ids(source)


_BATCH_NORMS = (
    *("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training"),
    *("_batch_norm_with_update", "_batch_norm_no_update", "cudnn_batch_norm", "miopen_batch_norm"),
)
_MOVES = (
    *("_unsafe_view", "cat", "flip", "repeat", "roll", "stack", "constant_pad_nd"),
    *("channel_shuffle", "native_channel_shuffle", "pixel_shuffle", "pixel_unshuffle"),
    *(f"{kind}_pad{d}d" for kind in ("reflection", "replication") for d in (1, 2, 3)),
    *("unsafe_split", "unsafe_split_with_sizes"),
)
_REDUCTIONS = (
    *("mean", "sum", "nansum", "prod", "std", "var", "logsumexp", "linalg_vector_norm"),
    *("amax", "amin", "max", "min", "median", "nanmedian", "aminmax", "std_mean", "var_mean", "all", "any"),
)
_CHOICES = ("argmax", "argmin", "argsort", "kthvalue", "mode", "sort", "topk")
_CUMULATIONS = ("cummax", "cummin", "cumprod", "cumsum", "logcumsumexp")
_POOLS = {
    **{f"{kind}_pool{d}d": d for d in (1, 2, 3) for kind in ("avg", "_adaptive_avg", "adaptive_max")},
    **{f"max_pool{d}d_with_indices": d for d in (2, 3)},
    **{f"upsample_nearest{d}d": d for d in (1, 2, 3)},
    **{f"_upsample_nearest_exact{d}d": d for d in (1, 2, 3)},
    **{f"upsample_{kind}": d for kind, d in (("linear1d", 1), ("bilinear2d", 2), ("bicubic2d", 2))},
    "upsample_trilinear3d": 3,
}
_UNTAGGED = (
    *("_prelu_kernel", "_to_copy", "alpha_dropout", "clone", "dropout", "hardswish", "lift_fresh"),
    *("log_sigmoid_forward", "native_dropout", "rrelu_with_noise"),
)
"""Element-wise operations that torch does not tag as such."""

_RULES: Mapping[str, Rule] = {
    "convolution": convolution,
    **dict.fromkeys(("mm", "addmm", "bmm", "baddbmm"), matrix_product),
    **dict.fromkeys(_BATCH_NORMS, batch_norm),
    "embedding": embedding,
    "native_group_norm": group_norm,
    **dict.fromkeys(("native_layer_norm", "_fused_rms_norm"), layer_norm),
    **dict.fromkeys(_MOVES, move),
    **dict.fromkeys(("gather", "index", "index_select"), lookup),
    **dict.fromkeys(_REDUCTIONS, reduction),
    **dict.fromkeys(_CHOICES, choice),
    **dict.fromkeys(_CUMULATIONS, cumulation),
    **{name: partial(pool, dimensions=d) for name, d in _POOLS.items()},
    **dict.fromkeys(("_softmax", "_log_softmax", "_safe_softmax"), softmax),
    "glu": gated_linear_unit,
    "as_strided": restride,
    "_local_scalar_dense": condition,
    "copy": copy,
}


def rule_of(operation: Any, name: str) -> Rule:
    """Return the rule for an ATen operation.

    Raises:
        TracingError: There is none.
    """
    if name in _RULES:
        return _RULES[name]
    if any(result.alias_info and not result.alias_info.is_write for result in operation._schema.returns):
        return move  # it returns a view
    if torch.Tag.pointwise in operation.tags or name in _UNTAGGED:
        return elementwise
    raise TracingError(f"aten.{name}")
