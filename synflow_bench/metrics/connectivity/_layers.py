"""Rules for what has weights: convolutions, matrix products, norms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from synflow_bench.metrics.connectivity._call import Call, NotFollowedError


def convolution(call: Call) -> Tensor:
    """A convolution of (N, C, ...), transposed or not, in groups or not."""
    activation, weight, groups = call["input"], call["weight"], call["groups"]
    if call.is_activation(weight):
        raise NotFollowedError("a convolution whose weights are computed from the input")
    ids = call.ids(activation)
    inputs = _along(call, ids, 1, activation.shape[1])
    edges = weight.unflatten(0, (groups, -1))
    view = call.view(edges.transpose(1, 2) if call["transposed"] else edges)
    outputs = call.ledger.connect(inputs, call.output.shape[1], view, groups)
    call.attach(outputs, call["bias"])
    return _channels(outputs, call.output.ndim)


def matrix_product(call: Call) -> Tensor:
    """(B, N, K) times (B, K, M), or without B; `bias` is added where there is one."""
    left, right = _factors(call)
    if call.is_activation(left) and call.is_activation(right):
        # Entry (n, m) depends on row n of the one and on column m of the other.
        merge = call.ledger.merge
        product = call.ledger.join(merge(call.ids(left), [-1]), merge(call.ids(right), [-2]))
    elif call.is_activation(left):
        product = _weighted(call, call.ids(left), left.shape, right.transpose(-1, -2))
    elif call.is_activation(right):
        transposed = call.ids(right).transpose(-1, -2)
        product = _weighted(call, transposed, right.transpose(-1, -2).shape, left).transpose(-1, -2)
    else:
        raise NotFollowedError(f"aten.{call.name} whose bias alone is computed from the input")
    bias = call["self"] if call.name in {"addmm", "baddbmm"} else None
    if bias is not None and call.is_activation(bias):
        return call.ledger.join(product, call.ids(bias))
    call.attach(product, bias)
    return product


def channel_norm(call: Call) -> Tensor:
    """Batch norm of (N, C, ...): every channel for itself."""
    ids = call.ids(call["input"])
    return _normalised(call, ids, lambda values: _channels(values, ids.ndim))


def group_norm(call: Call) -> Tensor:
    """Group norm of (N, C, ...): the channels of a group share their statistics, and stay or go together."""
    ids = call.ids(call["input"])
    channels = _along(call, ids, 1, call["input"].shape[1])
    for members in channels.chunk(call["group"]):
        call.ledger.mix(members)
    return _normalised(call, ids, lambda values: _channels(values, ids.ndim))


def layer_norm(call: Call) -> Tensor:
    """Layer norm or RMS norm over the last dimensions: all units there stay or go together."""
    ids = call.ids(call["input"])
    call.ledger.mix(ids)
    return _normalised(call, ids, lambda values: values)


def _normalised(call: Call, ids: Tensor, shaped: Callable[[Tensor], Tensor]) -> Tensor:
    weight, bias = call["weight"], call["bias"]
    for statistic in (call["running_mean"], call["running_var"]):
        call.attach(ids, None if statistic is None else shaped(statistic))
    view = None if weight is None else call.view(shaped(weight))
    scaled = ids if view is None else call.ledger.scale(ids, view)
    call.attach(scaled, None if bias is None else shaped(bias))
    return scaled


def _weighted(call: Call, ids: Tensor, shape: tuple[int, ...], weight: Tensor) -> Tensor:
    """(B, N, K) activations times (B, M, K) weights, transposed; gives (B, 1, M), or all without B."""
    if weight.ndim == 3 and (weight.shape[0] == 1 or weight.stride(0) == 0) and ids.shape[0] == 1:
        weight = weight[0]
    groups = weight.shape[0] if weight.ndim == 3 else 1
    if groups > 1 and weight.stride(0) == 0:
        raise NotFollowedError(f"aten.{call.name} with one weight for several kinds of units")
    merged = call.ledger.merge(ids, range(ids.ndim - 1) if groups == 1 else [1])
    inputs = merged.expand(*merged.shape[:-1], shape[-1])
    if groups > 1:
        inputs = inputs.expand(groups, 1, shape[-1])
    edges = weight if weight.ndim == 3 else weight.unsqueeze(0)
    outputs = call.ledger.connect(inputs.reshape(-1), groups * weight.shape[-2], call.view(edges), groups)
    return outputs.view(*(() if ids.ndim == 2 else (groups,)), 1, weight.shape[-2])


def _factors(call: Call) -> tuple[Any, Any]:
    match call.name:
        case "addmm":
            return call["mat1"], call["mat2"]
        case "baddbmm":
            return call["batch1"], call["batch2"]
        case _:
            return call["self"], call["mat2"]


def _along(call: Call, ids: Tensor, dimension: int, size: int) -> Tensor:
    """The units along one dimension, (size,)."""
    others = [d for d in range(ids.ndim) if d != dimension]
    return call.ledger.merge(ids, others).flatten().expand(size)


def _channels(values: Tensor, dimensions: int) -> Tensor:
    return values.view(1, -1, *[1] * (dimensions - 2))


LAYERS = {
    "convolution": convolution,
    "mm": matrix_product,
    "addmm": matrix_product,
    "bmm": matrix_product,
    "baddbmm": matrix_product,
    "native_batch_norm": channel_norm,
    "_native_batch_norm_legit": channel_norm,
    "_native_batch_norm_legit_no_training": channel_norm,
    "_batch_norm_with_update": channel_norm,
    "_batch_norm_no_update": channel_norm,
    "cudnn_batch_norm": channel_norm,
    "miopen_batch_norm": channel_norm,
    "native_group_norm": group_norm,
    "native_layer_norm": layer_norm,
    "_fused_rms_norm": layer_norm,
}
