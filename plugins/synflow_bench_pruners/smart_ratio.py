"""Smart-ratio random pruning: densities that fall from layer to layer."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import ClassVar, Literal

import torch

from synflow_bench import NotDefinedError, Problem
from synflow_bench.graph import Edges, Untraceable, trace
from synflow_bench_pruners.layer_densities import RandomInLayers, check_density, sizes

LINEAR = 2
"""The number of dimensions of a linear layer's weights; those of convolutions have more."""


class SmartRatio(RandomInLayers):
    """Smart-ratio: random masks, densities fall with depth.

    With L layers and k = L - l + 1, the density of layer l is proportional to k^2 + k in ResNets and to
    (k^2 + k) / l^2 in VGGs. Linear layers have the density `linear`. The part that a layer cannot hold is
    passed on to the layers after it. Masks are random inside a layer.

    Paper: Su, Chen, Cai, Wu, Gao, Wang, Lee, "Sanity-Checking Pruning Methods: Random Tickets can Win the
    Jackpot", 2020, arXiv 2009.11094.

    L counts linear layers too, and convolutions on shortcuts, as the official code does. Linear layers come
    last among those that a surplus is passed on to; there the official code keeps fewer weights than it is
    asked for. A bias or a batch-norm vector goes with the weights before it.

    The method is not defined for a network without convolutions, where the official code divides by zero, nor
    where 0.3 of the linear layers is all that is to be kept, or more, and the code gives convolutions a
    negative number of weights: `prune` raises `NotDefinedError` there.

    Args:
        linear: The density of linear layers.
        form: The formula, "resnet" or "vgg"; "auto" takes the one for ResNets where paths meet again in the
            traced graph of the network, or where it cannot be traced.
    """

    needs_forward: ClassVar[bool] = True
    revision: ClassVar[int] = 2
    linear: float = 0.3
    form: Literal["auto", "resnet", "vgg"] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_density("linear", self.linear)

    def shares(self, problem: Problem, total: int) -> Mapping[str, float]:
        """Return a fixed part for linear layers, and the rest by the falling ratios."""
        numbers, levels = sizes(problem), _levels(problem)
        fixed = {name: numbers[name] for name in _linear(problem, levels)}
        ratios = self._ratios(problem, levels)
        falling = {name: ratios[name] * n for name, n in numbers.items() if name not in fixed}
        part = self.linear * sum(fixed.values())
        if not falling:
            raise NotDefinedError("smart-ratio needs convolutions; choose another pruner for this network")
        if part >= total:
            raise NotDefinedError(
                f"smart-ratio keeps {self.linear:g} of the linear layers, {part:.0f} weights, and nothing of "
                f"the {total} to keep is left for convolutions; choose a lower compression"
            )
        asked = {**_scaled(falling, total - part), **_scaled(fixed, part)}
        return pass_on(asked, problem.masks.layer_kept)

    def _ratios(self, problem: Problem, levels: Mapping[str, int]) -> dict[str, float]:
        depth = max(levels.values())
        residual = self.form == "resnet" or (self.form == "auto" and _paths_meet(problem))
        ratios = {level: (depth - level + 1) * (depth - level + 2) for level in set(levels.values())}
        return {name: ratios[level] / (1 if residual else level**2) for name, level in levels.items()}


def pass_on(shares: Mapping[str, float], most: Mapping[str, float]) -> dict[str, float]:
    """Give the excess of `shares` over `most` to the layers that follow; after the last, to the first."""
    kept, surplus = dict.fromkeys(shares, 0.0), 0.0
    for asked in (shares, dict.fromkeys(shares, 0.0)):
        for name, share in asked.items():
            wanted = kept[name] + share + surplus
            kept[name] = min(wanted, most[name])
            surplus = wanted - kept[name]
    return kept


def _levels(problem: Problem) -> dict[str, int]:
    """The l of every tensor: weights in their order, vectors with the weights before them."""
    dims = [parameter.dim() for parameter in problem.parameters.values()]
    levels = accumulate(int(dim > 1) for dim in dims)
    return {name: max(level, 1) for name, level in zip(problem.parameters, levels, strict=True)}


def _linear(problem: Problem, levels: Mapping[str, int]) -> list[str]:
    """The tensors of linear layers."""
    fixed = {levels[name] for name, p in problem.parameters.items() if p.dim() == LINEAR}
    return [name for name, level in levels.items() if level in fixed]


def _scaled(shares: Mapping[str, float], total: float) -> dict[str, float]:
    scale = total / sum(shares.values()) if shares else 0.0
    return {name: scale * share for name, share in shares.items()}


def _paths_meet(problem: Problem) -> bool:
    """Return True if some unit adds two paths, or if the network cannot be traced."""
    graph = trace(problem.model, problem.forward_inputs())
    if isinstance(graph, Untraceable):
        return True
    targets = [step.targets for step in graph.steps if isinstance(step, Edges)]
    return any(len(units) > len(torch.unique(units)) for units in targets)
