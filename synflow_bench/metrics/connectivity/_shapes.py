"""Rules for what moves, pools or reduces activations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from synflow_bench.metrics.connectivity._call import Call, NotFollowedError
from synflow_bench.metrics.connectivity._graph import NOTHING
from synflow_bench.metrics.connectivity._ledger import compact, real, varying

MOVES = (
    *("_unsafe_view", "cat", "flip", "index", "index_select", "repeat", "roll", "stack", "constant_pad_nd"),
    *("channel_shuffle", "native_channel_shuffle", "pixel_shuffle", "pixel_unshuffle"),
    *(f"{kind}_pad{d}d" for kind in ("reflection", "replication") for d in (1, 2, 3)),
    *("unsafe_split", "unsafe_split_with_sizes"),
)
"""Operations that copy entries to new places and compute nothing. Those that return views show it."""


def move(call: Call) -> Tensor | list[Tensor]:
    """Apply the operation to the units themselves: where an entry goes, its unit goes."""
    sources = [value for value in _tensors(call) if call.is_activation(value)]
    arguments = tree_map(partial(_stand_in, call), dict(call.arguments))
    moved = _moved(call, arguments)
    parts = [compact(part) for part in (moved if isinstance(moved, list | tuple) else [moved])]
    if len(sources) == 1:
        _fix_what_was_cut(call, real(call.ids(sources[0])), parts)
    return parts if isinstance(moved, list | tuple) else parts[0]


def _moved(call: Call, arguments: dict[str, Any]) -> Any:
    if call.name in {"view", "_unsafe_view"}:
        if call["size"] is None:
            raise NotFollowedError("a view as another type")
        return arguments["self"].reshape(call.output.shape)
    if call.name == "constant_pad_nd":
        return torch.constant_pad_nd(arguments["self"], arguments["pad"], NOTHING)
    packet = getattr(torch.ops.aten, call.name)
    return getattr(packet, call.operation._overloadname)(**arguments)


def _stand_in(call: Call, value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    if call.is_activation(value):
        return call.ids(value).expand(value.shape)
    if call.name in {"index", "index_select"}:
        return value.cpu()
    call.ledger.opaque |= call.known.names(value)
    return torch.full(value.shape, NOTHING)


def _fix_what_was_cut(call: Call, source: Tensor, parts: list[Tensor]) -> None:
    if any(len(varying(part)) > 1 or not torch.equal(real(part), source) for part in parts):
        call.ledger.fix(source)


def _tensors(call: Call) -> list[Tensor]:
    values = [v for value in call.arguments.values() for v in (value if isinstance(value, list) else [value])]
    return [value for value in values if isinstance(value, Tensor)]


def pool(call: Call, dimensions: int) -> Tensor:
    """Pooling or resampling of the last `dimensions`: channels stay what they are."""
    ids = call.ids(call["self"] if call["self"] is not None else call["input"])
    return call.ledger.merge(ids, range(-dimensions, 0))


def reduce(call: Call) -> Tensor:
    """A sum, mean, maximum or the like over some dimensions, all when none is named."""
    ids = call.ids(call["self"])
    named = call["dim"]
    over = [named] if isinstance(named, int) else list(named or range(ids.ndim))
    merged = call.ledger.merge(ids, over) if ids.ndim else ids
    return merged if merged.ndim == call.output.ndim else merged.squeeze(tuple(over))


def softmax(call: Call) -> Tensor:
    """Every unit stays itself; those that share the sum stay or go together."""
    ids = call.ids(call["self"])
    call.ledger.mix(ids)
    return ids


def gated_halves(call: Call) -> Tensor:
    """A gated linear unit: the first half of a dimension times the sigmoid of the second."""
    source, dimension = call["self"], -1 if call["dim"] is None else call["dim"]
    ids = call.ids(source).expand(source.shape)
    call.ledger.fix(ids)
    first, second = ids.chunk(2, dimension)
    return compact(call.ledger.join(first, second))


def restride(call: Call) -> Tensor:
    """Another layout in memory of the same entries, which only one long dimension can be sure of."""
    source = call["self"]
    if tuple(call["size"]) != tuple(call.ids(source).expand(source.shape).shape) or (
        sum(size > 1 for size in source.shape) > 1
    ):
        raise NotFollowedError("aten.as_strided")
    return call.ids(source)


_REDUCTIONS = (
    *("mean", "sum", "nansum", "prod", "std", "var", "logsumexp", "linalg_vector_norm"),
    *("amax", "amin", "max", "min", "median"),
)
_POOLS = {
    **{f"{kind}_pool{d}d": d for d in (1, 2, 3) for kind in ("avg", "_adaptive_avg", "adaptive_max")},
    **{f"max_pool{d}d_with_indices": d for d in (2, 3)},
    **{f"upsample_nearest{d}d": d for d in (1, 2, 3)},
    **{f"_upsample_nearest_exact{d}d": d for d in (1, 2, 3)},
    "upsample_linear1d": 1,
    "upsample_bilinear2d": 2,
    "upsample_bicubic2d": 2,
    "upsample_trilinear3d": 3,
}
SHAPES: Mapping[str, Callable[[Call], Tensor | list[Tensor]]] = {
    **dict.fromkeys(MOVES, move),
    **dict.fromkeys(_REDUCTIONS, reduce),
    **{name: partial(pool, dimensions=d) for name, d in _POOLS.items()},
    "_softmax": softmax,
    "_log_softmax": softmax,
    "_safe_softmax": softmax,
    "glu": gated_halves,
    "as_strided": restride,
}
