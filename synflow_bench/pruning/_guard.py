"""Whether scores can be ranked: complete, finite, informative, and precise enough."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from synflow_bench.errors import ScoreError
from synflow_bench.pruning._layout import flattened, order_of
from synflow_bench.pruning._selection import Selection


class PrecisionError(Exception):
    """float32 is not enough for these scores; the caller scores again in float64."""


def check_scores(
    scores: Mapping[str, Tensor], parameters: Mapping[str, Tensor], *, first_round: bool
) -> None:
    """Raise `ScoreError` naming the layer that has no usable scores.

    Non-finite or constant scores in float32 are a `PrecisionError` first: overflow or underflow may be the
    cause. A layer's scores may be constant only where its weights are, or after weights have been removed: a
    network that has collapsed has no gradient to tell.
    """
    for name in parameters.keys() - scores.keys():
        raise ScoreError(f"no scores for layer {name!r}")
    for name in scores.keys() - parameters.keys():
        raise ScoreError(f"scores for {name!r}, which is not prunable here")
    for name, parameter in parameters.items():
        _check_layer(name, scores[name], parameter, first_round=first_round)


def _check_layer(name: str, scores: Tensor, parameter: Tensor, *, first_round: bool) -> None:
    if scores.shape != parameter.shape:
        raise ScoreError(
            f"scores of layer {name!r} have shape {tuple(scores.shape)}, not {tuple(parameter.shape)}"
        )
    if not scores.is_floating_point():
        raise ScoreError(f"scores of layer {name!r} are {scores.dtype}; they must be floating point")
    if scores.device != parameter.device:
        raise ScoreError(
            f"scores of layer {name!r} are on {scores.device}, its weights on {parameter.device}"
        )
    low, high = (float(value) for value in torch.aminmax(flattened(scores, order_of(scores))))
    if not (abs(low) < float("inf") and abs(high) < float("inf")):
        _fail(parameter, f"scores of layer {name!r} are not finite")
    if first_round and low == high and not _constant(parameter):
        _fail(parameter, f"scores of layer {name!r} are all {low:g}: they rank nothing")


def check_underflow(scores: Mapping[str, Tensor], selection: Selection) -> None:
    """Raise `PrecisionError` when a kept float32 score is zero or subnormal: its rank may be an accident."""
    for name, score in scores.items():
        tiny = torch.finfo(score.dtype).tiny
        if score.dtype is torch.float64 or selection.threshold >= tiny:
            continue
        if bool(((score.detach().abs() < tiny) & selection.masks[name]).any()):
            raise PrecisionError(f"scores of layer {name!r} underflow in {score.dtype}")


def _constant(parameter: Tensor) -> bool:
    low, high = torch.aminmax(parameter.detach())
    return bool(low == high)


def _fail(parameter: Tensor, message: str) -> None:
    if parameter.dtype is not torch.float64:
        raise PrecisionError(message)
    raise ScoreError(message)
