"""Random pruning: the baseline that says how much a score is worth."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from synflow_bench import Problem, Pruner


class Random(Pruner):
    """Independent uniform scores: every layer ends near the same density."""

    needs_data: ClassVar[bool] = False

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """Draw a score for every weight from the problem's generator."""
        return {
            name: torch.rand(p.shape, generator=problem.generator, dtype=torch.float64).to(p.device)
            for name, p in problem.parameters.items()
        }
