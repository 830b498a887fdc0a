"""Random pruning: the baseline that shows the worth of a score."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from synflow_bench import Problem, Pruner


class Random(Pruner):
    """Random: keep weights drawn uniformly from all layers.

    The score is an independent uniform draw, so that the density of every layer is rho on average; `uniform`
    has it exactly.
    """

    needs_data: ClassVar[bool] = False
    needs_forward: ClassVar[bool] = False

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """Draw a score for every weight from the problem's generator."""
        return {
            name: torch.rand(p.shape, generator=problem.generator, dtype=torch.float64).to(p.device)
            for name, p in problem.parameters.items()
        }
