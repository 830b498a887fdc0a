"""The checks of scores: their form, and the precision in which they can be ranked."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

import torch
from torch import Tensor

from synflow_bench.errors import ScoreError
from synflow_bench.pruning.selection import Selection, flattened, order_of


class PrecisionError(Exception):
    """float32 is not enough for these scores: compute them again in float64."""


class UnrankedError(ScoreError):
    """All scores of an intact network are zero: they rank nothing."""


class NotFiniteError(ScoreError):
    """Scores are infinite or undefined in float64."""


def check_scores(scores: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> dict[str, float]:
    """Check the form of scores, and return the only value of each layer that has only one.

    Raises:
        ScoreError: Scores are missing, have the wrong shape, type or device; `NotFiniteError` if they are not
            finite.
        PrecisionError: float32 scores are not finite, perhaps from overflow.
    """
    if not isinstance(scores, Mapping):
        raise ScoreError(f"scores are a {type(scores).__name__}; return a dictionary of tensors by name")
    for name in parameters.keys() - scores.keys():
        raise ScoreError(f"no scores for layer {name!r}")
    for name in scores.keys() - parameters.keys():
        raise ScoreError(f"scores for {name!r}, which is not prunable here")
    extremes: list[Tensor] = []
    for name, parameter in parameters.items():
        _check_form(name, scores[name], parameter)
        extremes += torch.aminmax(flattened(scores[name], order_of(scores[name])))
    found = torch.cat([value.view(1).to(extremes[0].device) for value in extremes]).tolist()  # read at once
    only = {}
    for (name, parameter), low, high in zip(parameters.items(), found[::2], found[1::2], strict=True):
        if not (abs(low) < inf and abs(high) < inf):
            error = NotFiniteError if parameter.dtype is torch.float64 else PrecisionError
            raise error(f"scores of layer {name!r} are not finite")
        if low == high:
            only[name] = low
    return only


def _check_form(name: str, scores: Tensor, parameter: Tensor) -> None:
    if not isinstance(scores, Tensor):
        raise ScoreError(f"scores of layer {name!r} are a {type(scores).__name__}; they must be a tensor")
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


def check_underflow(scores: Mapping[str, Tensor], selection: Selection) -> None:
    """Raise `PrecisionError` if a kept float32 score is zero or subnormal: its rank may be an accident."""
    for name, score in scores.items():
        tiny = torch.finfo(score.dtype).tiny
        if score.dtype is torch.float64 or selection.threshold >= tiny:
            continue
        if bool(((score.detach().abs() < tiny) & selection.masks[name]).any()):
            raise PrecisionError(f"scores of layer {name!r} underflow in {score.dtype}")


def is_constant(tensor: Tensor) -> bool:
    """Return True if all entries are equal."""
    smallest, largest = torch.aminmax(tensor.detach())
    return bool(smallest == largest)
