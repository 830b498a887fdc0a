"""Magnitude pruning at initialization."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from synflow_bench import Problem, Pruner


class Magnitude(Pruner):
    """Score |w|: what is large at initialization stays."""

    needs_data: ClassVar[bool] = False

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """The absolute value of every weight."""
        return {name: p.detach().abs() for name, p in problem.parameters.items()}
