"""Smart-ratio random pruning: densities that fall from layer to layer."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from itertools import accumulate
from typing import Literal

import torch
from torch import nn
from torch.fx import Node, symbolic_trace

from synflow_bench import Problem
from synflow_bench_pruners.layer_shares import pass_on
from synflow_bench_pruners.random_in_layers import RESERVE, RandomInLayers, check_density, sizes

LINEAR = 2
"""Dimensions of a linear layer's weights; convolutions have more."""

ADDITIONS = frozenset({operator.add, operator.iadd, torch.add, "add", "add_"})


class SmartRatio(RandomInLayers):
    """Density of layer l proportional to k^2 + k, k = L - l + 1, in ResNets; to (k^2 + k) / l^2 in VGGs.

    Linear layers keep the share `linear`, 0.3. What a layer cannot hold is passed on to the layers after it.
    Random inside. `form` says which formula; `auto` takes the ResNets' where the network adds tensors, or
    cannot be traced.
    Su, Chen, Cai, Wu, Gao, Wang, Lee, "Sanity-Checking Pruning Methods: Random Tickets can Win the Jackpot",
    2020, arXiv 2009.11094.

    L counts linear layers too, and convolutions on shortcuts, as the official code does. Where the paper is
    silent: linear layers take at most half of what is kept (in a small network 0.3 of them can be more than
    all of it), and come last among those that a surplus is passed on to; in a network without convolutions
    only the last linear layer is fixed; a bias or a batch-norm vector goes with the weights before it.
    """

    linear: float = 0.3
    form: Literal["auto", "resnet", "vgg"] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_density("linear", self.linear)

    def shares(self, problem: Problem, total: int) -> Mapping[str, float]:
        """A fixed part for linear layers, the rest by the falling ratios."""
        numbers, levels = sizes(problem), _levels(problem)
        fixed = {name: numbers[name] for name in _linear(problem, levels)}
        ratios = self._ratios(problem, levels)
        falling = {name: ratios[name] * n for name, n in numbers.items() if name not in fixed}
        part = min(self.linear * sum(fixed.values()), RESERVE * total)
        asked = {**_scaled(falling, total - part), **_scaled(fixed, part)}
        return pass_on(asked, problem.masks.layer_kept)

    def _ratios(self, problem: Problem, levels: Mapping[str, int]) -> dict[str, float]:
        depth = max(levels.values())
        residual = self.form == "resnet" or (self.form == "auto" and _adds(problem.model))
        ratios = {level: (depth - level + 1) * (depth - level + 2) for level in set(levels.values())}
        return {name: ratios[level] / (1 if residual else level**2) for name, level in levels.items()}


def _levels(problem: Problem) -> dict[str, int]:
    """The l of every tensor: weights in their order, vectors with the weights before them."""
    dims = [parameter.dim() for parameter in problem.parameters.values()]
    levels = accumulate(int(dim > 1) for dim in dims)
    return {name: max(level, 1) for name, level in zip(problem.parameters, levels, strict=True)}


def _linear(problem: Problem, levels: Mapping[str, int]) -> list[str]:
    """The tensors of linear layers; of the last one only where all layers are linear."""
    dims = {levels[name]: p.dim() for name, p in problem.parameters.items() if p.dim() > 1}
    fixed = {level for level, dim in dims.items() if dim == LINEAR}
    if len(fixed) == len(dims):
        fixed = {max(dims)} if len(dims) > 1 and not problem.options.dense_classifier else set()
    return [name for name, level in levels.items() if level in fixed]


def _scaled(shares: Mapping[str, float], total: float) -> dict[str, float]:
    scale = total / sum(shares.values()) if shares else 0.0
    return {name: scale * share for name, share in shares.items()}


def _adds(model: nn.Module) -> bool:
    """Whether the network adds what two paths bring; also where it cannot be traced."""
    try:
        nodes = symbolic_trace(model).graph.nodes
    except Exception:  # Tracing runs the network's own code on proxies, which may raise anything.
        return True
    return any(n.target in ADDITIONS and sum(isinstance(a, Node) for a in n.args) > 1 for n in nodes)
