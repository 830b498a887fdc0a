"""Weight norm of units whose weights are all removed: zero, where torch divides zero by zero."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import _WeightNorm
from torch.nn.utils.weight_norm import WeightNorm


def weight_of(direction: Tensor, size: Tensor, dim: int) -> Tensor:
    """Return size * direction / |direction|, with a norm per entry of dimension `dim`, and 0 for 0."""
    norm = _norm(direction, dim)
    return direction * (size / torch.where(norm > 0, norm, torch.ones_like(norm)))


def _norm(direction: Tensor, dim: int) -> Tensor:
    others = [d for d in range(direction.dim()) if d != dim % direction.dim()] if dim != -1 else None
    norm: Tensor = torch.linalg.vector_norm(direction, dim=others, keepdim=others is not None)
    return norm


class NormOfPruned(_WeightNorm):
    """The parametrization of weight norm that leaves removed units at zero."""

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        """Return the weight."""
        return weight_of(weight_v, weight_g, self.dim)


class HookOfPruned(WeightNorm):
    """The forward hook of weight norm in torch's older form, with the same change."""

    def compute_weight(self, module: nn.Module) -> Any:
        """Return the weight."""
        return weight_of(getattr(module, f"{self.name}_v"), getattr(module, f"{self.name}_g"), self.dim)


def loadable_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the state of a network as torch's own weight norm can load it, without a division by zero.

    A unit that has lost all of its weights gets size 0 and a direction of ones, which is a weight of zero.
    """
    state: dict[str, Tensor] = model.state_dict()
    for prefix, module in model.named_modules(remove_duplicate=False):
        for of_size, of_direction, dim in _weight_norms(module):
            size, direction = (f"{prefix}.{name}" if prefix else name for name in (of_size, of_direction))
            removed = _norm(state[direction], dim) == 0
            state[size] = state[size].masked_fill(removed.view_as(state[size]), 0)
            state[direction] = state[direction].masked_fill(removed, 1)
    return state


def _weight_norms(module: nn.Module) -> Iterator[tuple[str, str, int]]:
    """Yield the names of the size and the direction of every weight with weight norm, and its dimension."""
    if parametrize.is_parametrized(module):
        for name, steps in module.parametrizations.items():  # type: ignore[union-attr, operator]
            if isinstance(steps[0], _WeightNorm):
                place = f"parametrizations.{name}.original"
                yield f"{place}0", f"{place}1", steps[0].dim
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm):
            yield f"{hook.name}_g", f"{hook.name}_v", hook.dim


def allow_removed_units(model: nn.Module) -> None:
    """Let every weight norm of `model` give zero for a unit without weights; all other values stay."""
    for module in model.modules():
        if type(module) is _WeightNorm:
            module.__class__ = NormOfPruned
        for hook in module._forward_pre_hooks.values():
            if type(hook) is WeightNorm:
                hook.__class__ = HookOfPruned
