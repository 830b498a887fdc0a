"""Weight norm of units whose weights are all removed: zero, where torch divides zero by zero."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _WeightNorm
from torch.nn.utils.weight_norm import WeightNorm


def weight_of(direction: Tensor, size: Tensor, dim: int) -> Tensor:
    """Return size * direction / |direction|, with a norm per entry of dimension `dim`, and 0 for 0."""
    others = [d for d in range(direction.dim()) if d != dim % direction.dim()] if dim != -1 else None
    norm = torch.linalg.vector_norm(direction, dim=others, keepdim=others is not None)
    return direction * (size / torch.where(norm > 0, norm, torch.ones_like(norm)))


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


def allow_removed_units(model: nn.Module) -> None:
    """Let every weight norm of `model` give zero for a unit without weights; all other values stay."""
    for module in model.modules():
        if type(module) is _WeightNorm:
            module.__class__ = NormOfPruned
        for hook in module._forward_pre_hooks.values():
            if type(hook) is WeightNorm:
                hook.__class__ = HookOfPruned
