"""Uniform+ random pruning: uniform densities that spare the first convolution and the last layer."""

from __future__ import annotations

from collections.abc import Mapping

from synflow_bench import Problem
from synflow_bench_pruners.layer_shares import fill
from synflow_bench_pruners.random_in_layers import RESERVE, RandomInLayers, check_density, sizes


class UniformPlus(RandomInLayers):
    """First convolution dense, last layer at least 0.2 dense, the rest at one density; random inside.

    Gale, Elsen, Hooker, "The State of Sparsity in Deep Neural Networks", 2019, arXiv 1902.09574; as a
    baseline in Lee et al., "Layer-adaptive Sparsity for the Magnitude-based Pruning", 2021, arXiv
    2010.07611. A first layer that is linear is not spared, as in the official code of Lee et al.; nor is
    anything spared in place of a classifier that is left dense by option. Both keep the largest weights of
    a layer, here its mask is random. Where the spared layers would take more than half of what is kept they
    take half, the smaller ones first; the official code refuses when they take more than all of it.
    """

    last: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_density("last", self.last)

    def shares(self, problem: Problem, total: int) -> Mapping[str, float]:
        """One density, with floors under the two layers that are spared."""
        least, most = self._floors(problem), problem.masks.layer_kept
        reserve = min(sum(least.values()), RESERVE * total)
        least = fill(dict.fromkeys(least, 1.0), reserve, least)
        return fill(sizes(problem), total, most, least)

    def _floors(self, problem: Problem) -> dict[str, float]:
        room = problem.masks.layer_kept
        layers = {name: p for name, p in problem.parameters.items() if p.dim() > 1}
        if not layers:
            return {}
        (first, *_), (*_, last) = layers, layers
        spared = {} if problem.options.dense_classifier else {last: self.last * layers[last].numel()}
        if layers[first].dim() > 2:
            spared[first] = layers[first].numel()
        return {name: min(share, room[name]) for name, share in spared.items()}
