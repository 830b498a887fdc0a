"""SNIP: Single-shot Network Pruning based on Connection Sensitivity."""

from __future__ import annotations

from torch import Tensor

from synflow_bench import Problem, Pruner
from synflow_bench_pruners.helpers import summed_gradients


class Snip(Pruner):
    """SNIP: keep the weights of largest sensitivity |w g|.

    g = dL/dw is summed over the scoring set, in evaluation mode.

    Paper: Lee, Ajanthan, Torr, "SNIP: Single-shot Network Pruning based on Connection Sensitivity", 2019,
    arXiv 1810.02340.
    """

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """Return the size of the change of the loss, to first order, when a weight is removed."""
        gradients = summed_gradients(problem)
        pairs = zip(problem.parameters.items(), gradients, strict=True)
        return {name: (p.detach() * gradient).abs_() for (name, p), gradient in pairs}
