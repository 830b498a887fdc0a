"""The parameters of several networks of one shape in one tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor, nn

ALIGNMENT = 16
"""Every tensor begins at a multiple of this many floats: the widest vector of a processor. An operation then
treats an entry alike at whatever place in the stack its network lies."""


@dataclass(frozen=True)
class Storage:
    """`values` and `gradients` (G, P): a row a network, its parameters one after another, zeros between."""

    values: nn.Parameter
    gradients: Tensor
    models: Sequence[nn.Module]

    @classmethod
    def of(cls, models: Sequence[nn.Module]) -> Storage:
        """Move the parameters of `models` into one tensor: theirs become views of it, gradients too."""
        width = sum(_aligned(parameter.numel()) for parameter in models[0].parameters())
        values = nn.Parameter(torch.zeros(len(models), width))
        values.grad = torch.zeros_like(values)
        storage = cls(values, values.grad, models)
        for name in storage._starts:
            stacked, gradients = storage.stack(name)
            for row, model in enumerate(models):
                parameter = model.get_parameter(name)
                parameter.data = stacked[row].copy_(parameter.detach())
                parameter.grad = gradients[row]
        return storage

    def stack(self, name: str) -> tuple[Tensor, Tensor]:
        """Values and gradients (G, *shape) of the parameter `name` of all networks."""
        shape = self.models[0].get_parameter(name).shape
        part = slice(self._starts[name], self._starts[name] + shape.numel())
        values, gradients = self.values.detach()[:, part], self.gradients[:, part]
        return values.view(-1, *shape), gradients.view(-1, *shape)

    @cached_property
    def _starts(self) -> dict[str, int]:
        sizes = {name: _aligned(parameter.numel()) for name, parameter in self.models[0].named_parameters()}
        return dict(zip(sizes, accumulate(sizes.values(), initial=0), strict=False))

    def spread(self, masks: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """Masks of each network, by name, as one tensor (G, P) of ones and zeros."""
        spread = torch.ones_like(self.gradients)
        for row, of_one in zip(spread, masks, strict=True):
            for name, mask in of_one.items():
                start = self._starts[name]
                row[start : start + mask.numel()] = mask.reshape(-1)
        return spread

    def release(self) -> None:
        """Give every network parameters of its own again."""
        for model in self.models:
            for parameter in model.parameters():
                parameter.data, parameter.grad = parameter.detach().clone(), None


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
