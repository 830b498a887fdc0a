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
    """`values` and `gradients` (G, P): a row a network, its parameters one after another.

    There are zeros between and behind them, which have no gradient.
    """

    values: nn.Parameter
    gradients: Tensor
    models: Sequence[nn.Module]

    @classmethod
    def of(cls, models: Sequence[nn.Module]) -> Storage:
        """Move the parameters of `models` into one tensor: theirs become views of it, gradients too."""
        width = sum(_aligned(parameter.numel()) for parameter in models[0].parameters()) + ALIGNMENT
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
        return self._view(self.values.detach(), name), self._view(self.gradients, name)

    @cached_property
    def _starts(self) -> dict[str, int]:
        sizes = {name: _aligned(parameter.numel()) for name, parameter in self.models[0].named_parameters()}
        return dict(zip(sizes, accumulate(sizes.values(), initial=0), strict=False))

    def spread(self, masks: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """Masks of each network, by name, as one tensor (G, P) of ones and zeros; padding is not kept."""
        spread = torch.zeros_like(self.gradients)
        for row, of_one in enumerate(masks):
            for name in self._starts:
                self._view(spread, name)[row] = of_one.get(name, torch.ones(()))
        return spread

    def _view(self, stacked: Tensor, name: str) -> Tensor:
        """The parameter `name` (G, *shape) in `stacked` (G, P).

        Matrices lie transposed, (in, out): a product with them takes half the time where batches are small.
        """
        shape = self.models[0].get_parameter(name).shape
        part = stacked[:, self._starts[name] : self._starts[name] + shape.numel()]
        return part.view(-1, *reversed(shape)).transpose(1, -1)

    def release(self) -> None:
        """Give every network parameters of its own again."""
        for model in self.models:
            for parameter in model.parameters():
                parameter.data, parameter.grad = parameter.detach().contiguous().clone(), None


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
