"""SNIP: Single-shot Network Pruning based on Connection Sensitivity."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from synflow_bench import Problem, Pruner
from synflow_bench_pruners.helpers import Mode, summed_gradients


class Snip(Pruner):
    """SNIP: keep the weights of largest sensitivity |w g|.

    g = dL/dw is summed over the scoring set, in evaluation mode as in the official code.

    Paper: Lee, Ajanthan, Torr, "SNIP: Single-shot Network Pruning based on Connection Sensitivity", 2019,
    arXiv 1810.02340.

    The official code also ranks biases, which `prune_bias` adds here, and trains weights that it draws anew
    after pruning, as the ablation `reinit` does. It scores one batch of 100 training examples, drawn without
    regard to their classes.

    Args:
        mode: The mode of the network while it is scored, "eval" or "train".
    """

    newer: ClassVar[frozenset[str]] = frozenset({"mode"})
    mode: Mode = "eval"

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """Return the size of the change of the loss, to first order, when a weight is removed."""
        gradients = summed_gradients(problem, mode=self.mode)
        pairs = zip(problem.parameters.items(), gradients, strict=True)
        return {name: (p.detach() * gradient).abs_() for (name, p), gradient in pairs}
