"""Uniform random pruning: the same density for every layer, to the weight."""

from __future__ import annotations

from collections.abc import Mapping

from synflow_bench import Problem
from synflow_bench_pruners.random_in_layers import RandomInLayers, even_shares


class Uniform(RandomInLayers):
    """Every layer at density rho, random inside; `random` has these densities only on average.

    Uniform densities as in Zhu, Gupta, "To prune, or not to prune: exploring the efficacy of pruning for
    model compression", 2017, arXiv 1710.01878; with random masks in Liu et al., "The Unreasonable
    Effectiveness of Random Pruning: Return of the Most Naive Baseline for Sparse Training", 2022, arXiv
    2202.02643. Zhu and Gupta keep the largest weights of a layer: that is `magnitude` with local scope.
    """

    def shares(self, problem: Problem, total: int) -> Mapping[str, float]:
        """rho n_l of every layer."""
        return even_shares(problem, total)
