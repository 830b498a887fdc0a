"""IGQ random pruning: ideal gas quotas."""

from __future__ import annotations

from collections.abc import Mapping
from math import fsum

from synflow_bench import Problem
from synflow_bench_pruners.layer_shares import root
from synflow_bench_pruners.random_in_layers import RandomInLayers, sizes


class Igq(RandomInLayers):
    """Layer density 1 / (F n_l + 1), with F such that the layers sum to rho N; random inside.

    Layers are volumes of gas that the same force F compresses. At high compression each layer keeps nearly
    the same number, 1 / F; at low compression small layers are nearly dense.
    Vysogorets, Kempe, "Connectivity Matters: Neural Network Pruning Through the Lens of Effective Sparsity",
    2023, arXiv 2107.02306. F is found by bisection, as there.
    """

    def shares(self, problem: Problem, total: int) -> Mapping[str, float]:
        """n_l / (F n_l + 1), written with the volume V = 1 / F as n_l V / (n_l + V)."""
        room, numbers = problem.masks.layer_kept, sizes(problem)

        def quotas(volume: float) -> dict[str, float]:
            return {name: min(n * volume / (n + volume), room[name]) for name, n in numbers.items()}

        spare = sum(room.values()) - total
        if not spare:
            return {name: float(kept) for name, kept in room.items()}
        # A layer loses n^2 / (n + V) < n^2 / V, so that this volume loses less than may be lost.
        largest = fsum(n**2 for n in numbers.values()) / spare
        return quotas(root(lambda volume: fsum(quotas(volume).values()), total, largest))
