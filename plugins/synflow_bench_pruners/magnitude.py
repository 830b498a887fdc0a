"""Magnitude pruning at initialization."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from synflow_bench import Problem, Pruner


class Magnitude(Pruner):
    """Magnitude: keep the largest |w| at initialization.

    The score is |w|, and all layers are ranked together.

    Paper: Han, Pool, Tran, Dally, "Learning both Weights and Connections for Efficient Neural Networks",
    2015, arXiv 1506.02626, who prune trained networks.
    """

    needs_data: ClassVar[bool] = False
    needs_forward: ClassVar[bool] = False

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """Return the absolute value of every weight."""
        return {name: p.detach().abs() for name, p in problem.parameters.items()}
