"""Sums of scores: over a layer, and the total that layers share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from synflow_bench.pruning import Problem, Pruner


@runtime_checkable
class HasFlow(Protocol):
    """A pruner whose scores share out a total, layer by layer."""

    def flow(self, problem: Problem, scores: Mapping[str, Tensor]) -> float:
        """The total, for the masked weights of `problem` and their scores."""


def flow_of(pruner: Pruner, problem: Problem, scores: Mapping[str, Tensor]) -> float:
    """The total flow: what the pruner says it is, else the largest sum of kept absolute scores in a layer."""
    if isinstance(pruner, HasFlow):
        return pruner.flow(problem, scores)
    return max(total(score[problem.masks[name]]) for name, score in scores.items())


def total(scores: Tensor) -> float:
    """The sum of absolute scores, in float64."""
    return float(np.sum(scores.detach().abs().cpu().numpy(), dtype=np.float64))
