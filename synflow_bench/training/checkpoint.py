"""The state of a network in the middle of a training, kept to go back to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")


class Checkpoint:
    """The parameters and buffers of a network after `step` optimizer steps of a training that is given it.

    What the optimizer has gathered is not part of it.
    """

    def __init__(self, step: int) -> None:
        self.step = step
        self._state: dict[str, Tensor] = {}

    def watch(self, model: nn.Module, batches: Iterable[T], first_step: int) -> Iterator[T]:
        """The same batches; the state is taken before the one of `step`, where that is among them."""
        for step, batch in enumerate(batches, start=first_step):
            if step == self.step:
                self._state = {name: tensor.detach().clone() for name, tensor in _tensors(model).items()}
            yield batch

    @torch.no_grad()
    def restore(self, model: nn.Module) -> None:
        """Give `model` its parameters and buffers of then, in place."""
        if not self._state:
            raise RuntimeError(f"no training has passed step {self.step}")
        for name, tensor in _tensors(model).items():
            tensor.copy_(self._state[name])


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}
