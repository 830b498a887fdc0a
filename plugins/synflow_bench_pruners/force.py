"""FORCE: foresight connection sensitivity."""

from __future__ import annotations

from torch import Tensor

from synflow_bench import Masks, Problem
from synflow_bench.pruning import densities
from synflow_bench_pruners.iter_snip import IterSnip


class Force(IterSnip):
    """Score |w g|, w before any mask, g = dL/dw at w m, in 10 exponential rounds; weights may come back.

    What is masked has a gradient in the masked network too, and competes in every round with the rest.
    Rounds and `batches` as in `iter-snip`, whose remarks on the official code hold here as well.
    de Jorge, Sanyal, Behl, Torr, Rogez, Dokania, "Progressive Skeletonization: Trimming more fat from a
    network at initialization", 2021, arXiv 2006.09081.
    """

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """How much the loss changes, to first order, when a weight is removed from where it would be."""
        return dict(self._sensitivities(problem, problem.dense))

    def prune(self, problem: Problem, density: float) -> Masks:
        """Rounds in which every weight competes."""
        masks = problem.masks
        targets = densities(self.schedule, density, self.rounds, masks.density)
        for round, target in enumerate(targets, start=1):
            problem, masks = problem.at(masks, density=target, round=round).keep(self.score, revive=True)
        return masks
