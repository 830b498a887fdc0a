"""Random pruning: the baseline that shows the worth of a score."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from synflow_bench import Masks, Problem, Pruner


class Random(Pruner):
    """Random: keep weights drawn uniformly from all layers.

    The score is an independent uniform draw, so that the density of every layer is rho on average; `uniform`
    has it exactly. Kernels and channels are drawn as such, each with the same probability.
    """

    needs_data: ClassVar[bool] = False
    needs_forward: ClassVar[bool] = False
    group_revision: ClassVar[int] = 1

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """Draw a score for every weight from the problem's generator."""
        return {name: _draw(problem, p.shape).to(p.device) for name, p in problem.parameters.items()}

    def prune(self, problem: Problem, density: float) -> Masks:
        """Return the masks of one draw for every weight, or for every group that is ranked."""
        return self.in_rounds(problem, density, self.score, lambda sums: _draw(problem, sums.shape))


def _draw(problem: Problem, shape: torch.Size) -> Tensor:
    return torch.rand(shape, generator=problem.generator, dtype=torch.float64)
