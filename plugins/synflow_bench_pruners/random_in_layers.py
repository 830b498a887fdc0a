"""Pruners that only choose how dense each layer is: inside a layer the mask is random."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from synflow_bench import Masks, Problem, Pruner
from synflow_bench.errors import UsageError
from synflow_bench.pruning import count, whole
from synflow_bench_pruners.layer_shares import fill

RESERVE = 0.5
"""The most that layers with a fixed density of their own may take of all kept weights.

The papers' rules give such layers everything where that is more than there is, and the network is cut.
"""


class RandomInLayers(Pruner, ABC):
    """Keep in every layer the number of weights that `shares` gives it, rounded, at random places.

    Exactly round(density * N) weights in all: shares are rounded down and the largest remainders up. With
    local scope every layer gets the same density, whatever the rule. The ablation `invert` keeps what the
    rule would remove if it had to remove this many.
    """

    needs_data: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rounds != 1:
            raise UsageError(
                f"{type(self).__name__} draws its masks at once: rounds={self.rounds} has no effect, "
                "leave it out"
            )

    @abstractmethod
    def shares(self, problem: Problem, total: int) -> Mapping[str, float]:
        """How many of `total` weights each layer keeps, at most `problem.masks.layer_kept` of it."""

    def prune(self, problem: Problem, density: float) -> Masks:
        """Random masks of these sizes, drawn from the problem's generator."""
        total, room = count(density, problem.masks.size), problem.masks.layer_kept
        if problem.invert:
            removed = self._numbers(problem, problem.masks.kept - total)
            return draw(problem, {name: room[name] - removed[name] for name in room})
        return draw(problem, self._numbers(problem, total))

    def _numbers(self, problem: Problem, total: int) -> dict[str, int]:
        rule = even_shares if problem.options.scope == "local" else self.shares
        return whole(rule(problem, total), total, problem.masks.layer_kept)


def check_density(name: str, density: float) -> None:
    """Raise `UsageError` unless the parameter `name` is a density."""
    if not 0 <= density <= 1:
        raise UsageError(f"{name} is the density of a layer, from 0 to 1, not {density:g}")


def even_shares(problem: Problem, total: int) -> Mapping[str, float]:
    """Every layer at the same density."""
    return fill(sizes(problem), total, problem.masks.layer_kept)


def sizes(problem: Problem) -> dict[str, int]:
    """The number of weights of each prunable tensor."""
    return {name: parameter.numel() for name, parameter in problem.parameters.items()}


def draw(problem: Problem, numbers: Mapping[str, int]) -> Masks:
    """Keep `numbers` of each layer's remaining weights, at random."""
    masks = problem.masks
    return Masks({name: _draw(masks[name], numbers[name], problem.generator) for name in masks})


def _draw(mask: Tensor, number: int, generator: torch.Generator) -> Tensor:
    places = mask.reshape(-1).nonzero().squeeze(1)
    chosen = torch.randperm(len(places), generator=generator)[:number].to(mask.device)
    kept = torch.zeros(mask.numel(), dtype=torch.bool, device=mask.device)
    kept[places[chosen]] = True
    return kept.view(mask.shape)
