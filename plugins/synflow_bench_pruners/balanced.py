"""Balanced random pruning: the same number of weights for every layer."""

from __future__ import annotations

from collections.abc import Mapping

from synflow_bench import Problem
from synflow_bench_pruners.layer_shares import fill
from synflow_bench_pruners.random_in_layers import RandomInLayers


class Balanced(RandomInLayers):
    """rho N / L weights for each of L layers; a smaller layer is dense and the others share what it leaves.

    Every prunable tensor counts as a layer, so biases and batch-norm vectors are mostly dense where they may
    be pruned at all. Random inside.
    Gadhikar, Mukherjee, Burkholz, "Why Random Pruning Is All We Need to Start Sparse", 2023, arXiv
    2210.02412.
    """

    def shares(self, problem: Problem, total: int) -> Mapping[str, float]:
        """An equal number for each layer that can hold it."""
        return fill(dict.fromkeys(problem.parameters, 1.0), total, problem.masks.layer_kept)
