"""Gradual magnitude pruning in training."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from synflow_bench import Masks, MaskUpdate, Problem, TrainingPruner
from synflow_bench.errors import UsageError
from synflow_bench.suites import Scope


class Gmp(TrainingPruner):
    """GMP: remove the smallest |w| step by step during training.

    The training begins with all weights. Update i of n keeps the largest |w|, as many as the density
    d_i = d + (1 - d) (1 - i / n)^3 says, where d is the density of the cell. That is the cubic schedule of
    sparsity s_t = s_f + (s_i - s_f) (1 - (t - t_0) / (n dt))^3 with s_i = 0 at the beginning of the training.
    A removed weight is not trained, and is ranked by its last value: it comes back with it where kept weights
    have become smaller. After the last update the masks stay, and what they keep is trained.

    Paper: Zhu, Gupta, "To prune, or not to prune: exploring the efficacy of pruning for model compression",
    2017, arXiv 1710.01878, who give every layer the same sparsity (`scope = "local"`) and prune between two
    steps of their choice, every 100 to 1000 steps. The share of the training after which the masks stay,
    three quarters, is that of Gale, Elsen, Hooker, "The State of Sparsity in Deep Neural Networks", 2019,
    arXiv 1902.09574, to within what they tuned.

    In the authors' code (TensorFlow's contrib.model_pruning) the momentum of a removed weight still moves it
    until the momentum has decayed.

    Args:
        scope: `local` gives every layer the same density, `global` ranks all layers together.
        every: The optimizer steps from one update to the next; 0 is 100, or fewer in short trainings.
        until: The share of the training after which the masks stay as they are.
    """

    revision: ClassVar[int] = 2
    needs_data: ClassVar[bool] = False
    needs_forward: ClassVar[bool] = False
    every: int = 0
    until: float = 0.75
    scope: Scope = "local"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rounds != 1:
            raise UsageError(f"gmp prunes at updates of the training: rounds={self.rounds} has no effect")

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """Return |w|."""
        return {name: p.detach().abs() for name, p in problem.parameters.items()}

    def density_at(self, progress: float, density: float) -> float:
        """Return the density of the cubic schedule."""
        return density + (1 - density) * (1 - progress) ** 3

    def update(self, update: MaskUpdate) -> Masks:
        """Keep the largest |w|, those of removed weights being their last."""
        for name, weight in update.weights.items():
            update.values[name] = torch.where(update.masks[name], weight, update.values.get(name, weight))
        sizes = {name: value.abs() for name, value in update.values.items()}
        return update.keep(sizes, self.scope, revive=True)
