"""Several networks as one."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import pad

from synflow_bench.training.stacked._layers import chain_of
from synflow_bench.training.stacked._linear import StackedLinear
from synflow_bench.training.stacked._storage import Storage

ROWS = 4
"""Batches are filled up to a multiple of so many examples, with zeros that have no gradient.

Every network's part of a batched product then begins at a whole small vector, and is computed alike wherever
it lies in the stack.
"""


class StackedNetwork(nn.Module):
    """G networks of one shape, for which `is_stackable` holds, over one storage of their parameters.

    The networks stay usable: their parameters are views. Gradients are set by every backward pass, never
    added to what was there.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self.storage = Storage.of(models)
        layers = list(chain_of(models[0]))[1:]
        self._layers = nn.Sequential(*(self._stack(name, layer) for name, layer in layers))

    def forward(self, inputs: Tensor) -> Tensor:
        """Map `inputs` (G, N, ...) to logits (G, N, classes)."""
        examples, count = inputs.flatten(2), inputs.shape[1]
        if spare := -count % ROWS:
            examples = pad(examples, (0, 0, 0, spare))
        logits: Tensor = self._layers(examples)
        return logits[:, :count]

    def _stack(self, name: str, layer: nn.Module) -> nn.Module:
        if not isinstance(layer, nn.Linear):
            return layer
        bias = None if layer.bias is None else self.storage.stack(f"{name}.bias")
        return StackedLinear(self.storage.stack(f"{name}.weight"), bias)
