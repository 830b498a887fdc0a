"""ERK random pruning: Erdős-Rényi densities for layers with kernels."""

from __future__ import annotations

from collections.abc import Mapping

from synflow_bench import Problem
from synflow_bench_pruners.layer_shares import fill
from synflow_bench_pruners.random_in_layers import RandomInLayers


class Erk(RandomInLayers):
    """Layer density eps * (sum of dims) / (product of dims), dims = out, in, height, width; random inside.

    A layer that would be more than dense is dense, and eps is solved again for the others. A linear layer has
    two dims (Erdős-Rényi as in Mocanu et al. 2018, arXiv 1707.04780), a bias or a batch-norm vector one: it
    is among the first to be dense.
    Evci, Gale, Menick, Castro, Elsen, "Rigging the Lottery: Making All Tickets Winners", 2020, arXiv
    1911.11134; as pruning at initialization in Liu et al., "The Unreasonable Effectiveness of Random
    Pruning", 2022, arXiv 2202.02643. Official codes round or draw the count of each layer by itself; here
    they sum to round(rho N) exactly.
    """

    def shares(self, problem: Problem, total: int) -> Mapping[str, float]:
        """eps times the sum of dims, at most the layer."""
        weights = {name: sum(parameter.shape) for name, parameter in problem.parameters.items()}
        return fill(weights, total, problem.masks.layer_kept)
