"""Pruners that only choose the density of each layer: inside a layer the mask is random."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from math import fsum
from typing import ClassVar

import torch
from torch import Tensor

from synflow_bench import Masks, NotDefinedError, Problem, Pruner
from synflow_bench.errors import UsageError
from synflow_bench.pruning import kept_count, round_shares


class RandomInLayers(Pruner, ABC):
    """Random masks with the number of weights that `shares` gives each layer.

    Exactly round(rho N) weights are kept: shares are rounded down and the largest remainders up. With local
    scope every layer gets the same density, whatever the rule. The ablation `invert` keeps the number that
    the rule would remove if it had to remove that many.
    """

    needs_data: ClassVar[bool] = False
    needs_forward: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rounds != 1:
            raise UsageError(
                f"{type(self).__name__} draws its masks at once: rounds={self.rounds} has no effect, "
                "leave it out"
            )

    @abstractmethod
    def shares(self, problem: Problem, total: int) -> Mapping[str, float]:
        """Return the part of `total` weights that each layer keeps, at most `problem.masks.layer_kept`."""

    def prune(self, problem: Problem, density: float) -> Masks:
        """Return random masks of these sizes, drawn from the problem's generator."""
        total, room = kept_count(density, problem.masks.size), problem.masks.layer_kept
        if problem.invert:
            removed = self._numbers(problem, problem.masks.kept - total)
            return draw(problem, {name: room[name] - removed[name] for name in room})
        return draw(problem, self._numbers(problem, total))

    def _numbers(self, problem: Problem, total: int) -> dict[str, int]:
        rule = even_shares if problem.options.scope == "local" else self.shares
        return round_shares(rule(problem, total), total, problem.masks.layer_kept)


class Uniform(RandomInLayers):
    """Uniform: random masks of one density in every layer.

    Every layer keeps rho n_l of its n_l weights; `random` has this density only on average.

    Paper: Liu et al., "The Unreasonable Effectiveness of Random Pruning: Return of the Most Naive Baseline
    for Sparse Training", 2022, arXiv 2202.02643; with the largest weights of each layer, which is `magnitude`
    with local scope, in Zhu, Gupta, "To prune, or not to prune: exploring the efficacy of pruning for model
    compression", 2017, arXiv 1710.01878.
    """

    def shares(self, problem: Problem, total: int) -> Mapping[str, float]:
        """Return rho n_l for every layer."""
        return even_shares(problem, total)


class UniformPlus(RandomInLayers):
    """Uniform+: spare the first convolution and last layer.

    The first convolution is dense, the last layer has at least the density `last`, and the others have one
    density; masks are random inside a layer.

    Paper: Gale, Elsen, Hooker, "The State of Sparsity in Deep Neural Networks", 2019, arXiv 1902.09574; as a
    baseline in Lee et al., "Layer-adaptive Sparsity for the Magnitude-based Pruning", 2021, arXiv 2010.07611.
    Both keep the largest weights of a layer. As in the official code of Lee et al., a first layer that is
    linear is not spared; nor is another layer spared in place of a classifier that is left dense by option.
    The method is not defined where the spared layers take more than is to be kept: the official code refuses,
    and `prune` raises `NotDefinedError`.

    Args:
        last: The lowest density of the last layer.
    """

    revision: ClassVar[int] = 2
    last: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_density("last", self.last)

    def shares(self, problem: Problem, total: int) -> Mapping[str, float]:
        """Return one density for all layers, with lower limits for the two that are spared."""
        least, most = self._lower_limits(problem), problem.masks.layer_kept
        spared = sum(least.values())
        if spared > total:
            raise NotDefinedError(
                f"uniform-plus spares {spared:.0f} weights of the first and the last layer, more than the "
                f"{total} to keep; choose a lower compression"
            )
        return fill(sizes(problem), total, most, least)

    def _lower_limits(self, problem: Problem) -> dict[str, float]:
        room = problem.masks.layer_kept
        layers = {name: p for name, p in problem.parameters.items() if p.dim() > 1}
        if not layers:
            return {}
        (first, *_), (*_, last) = layers, layers
        spared = {} if problem.options.dense_classifier else {last: self.last * layers[last].numel()}
        if layers[first].dim() > 2:
            spared[first] = layers[first].numel()
        return {name: min(share, room[name]) for name, share in spared.items()}


class Erk(RandomInLayers):
    """ERK: random masks of Erdős-Rényi-kernel densities.

    The density of a layer is eps * (sum of dims) / (product of dims) with dims = out, in, height, width. A
    layer that would be more than dense is dense, and eps is solved again for the others. A linear layer has
    two dims (Erdős-Rényi as in Mocanu et al. 2018, arXiv 1707.04780), a bias or a batch-norm vector one: it
    is among the first to be dense.

    Paper: Evci, Gale, Menick, Castro, Elsen, "Rigging the Lottery: Making All Tickets Winners", 2020,
    arXiv 1911.11134; as pruning at initialization in Liu et al., "The Unreasonable Effectiveness of Random
    Pruning", 2022, arXiv 2202.02643. Official codes round or draw the number of each layer independently;
    here the numbers sum to round(rho N) exactly.
    """

    def shares(self, problem: Problem, total: int) -> Mapping[str, float]:
        """Return eps times the sum of dims for every layer, at most its size."""
        weights = {name: sum(parameter.shape) for name, parameter in problem.parameters.items()}
        return fill(weights, total, problem.masks.layer_kept)


class Igq(RandomInLayers):
    """IGQ: random masks of ideal-gas-quota densities.

    The density of layer l is 1 / (F n_l + 1), with F such that the layers sum to rho N. Layers are volumes of
    gas that the same force F compresses: at high compression each layer keeps nearly the same number, 1 / F;
    at low compression small layers are nearly dense.

    Paper: Vysogorets, Kempe, "Connectivity Matters: Neural Network Pruning Through the Lens of Effective
    Sparsity", 2023, arXiv 2107.02306. F is found by bisection, as there.
    """

    def shares(self, problem: Problem, total: int) -> Mapping[str, float]:
        """Return n_l / (F n_l + 1), written with the volume V = 1 / F as n_l V / (n_l + V)."""
        room, numbers = problem.masks.layer_kept, sizes(problem)

        def quotas(volume: float) -> dict[str, float]:
            return {name: min(n * volume / (n + volume), room[name]) for name, n in numbers.items()}

        spare = sum(room.values()) - total
        if not spare:
            return {name: float(kept) for name, kept in room.items()}
        # A layer loses n^2 / (n + V) < n^2 / V, so that this volume loses less than may be lost.
        largest = fsum(n**2 for n in numbers.values()) / spare
        return quotas(root(lambda volume: fsum(quotas(volume).values()), total, largest))


class Balanced(RandomInLayers):
    """Balanced: random masks, equally many weights per layer.

    Each of L layers keeps rho N / L weights; a smaller layer is dense and the others share the rest. Every
    prunable tensor counts as a layer, so that biases and batch-norm vectors are mostly dense where they may
    be pruned.

    Paper: Gadhikar, Mukherjee, Burkholz, "Why Random Pruning Is All We Need to Start Sparse", 2023,
    arXiv 2210.02412.
    """

    def shares(self, problem: Problem, total: int) -> Mapping[str, float]:
        """Return an equal number for each layer that can hold it."""
        return fill(dict.fromkeys(problem.parameters, 1.0), total, problem.masks.layer_kept)


def check_density(name: str, density: float) -> None:
    """Raise `UsageError` unless the parameter `name` is a density."""
    if not 0 <= density <= 1:
        raise UsageError(f"{name} is the density of a layer, from 0 to 1, not {density:g}")


def sizes(problem: Problem) -> dict[str, int]:
    """Return the number of weights of each prunable tensor."""
    return {name: parameter.numel() for name, parameter in problem.parameters.items()}


def even_shares(problem: Problem, total: int) -> Mapping[str, float]:
    """Return shares of `total` that give every layer the same density."""
    return fill(sizes(problem), total, problem.masks.layer_kept)


def fill(
    weights: Mapping[str, float],
    total: float,
    most: Mapping[str, float],
    least: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Share `total` in proportion to `weights`, within limits.

    The part that a limit takes or leaves is shared again among the others, still in proportion.

    Args:
        weights: Positive for every name with a positive upper limit.
        total: The sum of the shares, between the sums of the lower and of the upper limits.
        most: The upper limits.
        least: The lower limits; 0 for a name that is missing.
    """
    lower = least or {}

    def scaled(scale: float) -> dict[str, float]:
        return {n: max(lower.get(n, 0.0), min(scale * weights[n], most[n])) for n in most}

    if total >= fsum(most.values()):
        return dict(most)
    if total <= fsum(lower.values()):
        return scaled(0.0)
    high = max(most[name] / weight for name, weight in weights.items() if weight)
    return scaled(root(lambda scale: fsum(scaled(scale).values()), total, high))


def root(rising: Callable[[float], float], total: float, high: float) -> float:
    """Find the argument from 0 to `high` at which `rising` reaches `total`, to the last bit."""
    low = 0.0
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if rising(middle) < total else (low, middle)
    return high


def draw(problem: Problem, numbers: Mapping[str, int]) -> Masks:
    """Keep `numbers` of the remaining weights of each layer, at random."""
    masks = problem.masks
    return Masks({name: _draw(masks[name], numbers[name], problem.generator) for name in masks})


def _draw(mask: Tensor, number: int, generator: torch.Generator) -> Tensor:
    places = mask.reshape(-1).nonzero().squeeze(1)
    chosen = torch.randperm(len(places), generator=generator)[:number].to(mask.device)
    kept = torch.zeros(mask.numel(), dtype=torch.bool, device=mask.device)
    kept[places[chosen]] = True
    return kept.view(mask.shape)
