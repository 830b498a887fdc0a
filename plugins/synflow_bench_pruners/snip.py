"""SNIP: Single-shot Network Pruning based on Connection Sensitivity."""

from __future__ import annotations

from torch import Tensor

from synflow_bench import Problem, Pruner
from synflow_bench_pruners.gradients import summed_gradients


class Snip(Pruner):
    """Score |w g|, with g = dL/dw summed over the scoring set, in eval mode.

    Lee, Ajanthan, Torr, "SNIP: Single-shot Network Pruning based on Connection Sensitivity", 2019,
    arXiv 1810.02340.
    """

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """How much the loss changes, to first order, when a weight is removed."""
        gradients = summed_gradients(problem)
        pairs = zip(problem.parameters.items(), gradients, strict=True)
        return {name: (p.detach() * gradient).abs_() for (name, p), gradient in pairs}
