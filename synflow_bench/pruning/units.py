"""Weight tensors as matrices of units: what reads which inputs, in every kind of layer."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from synflow_bench.pruning.prunable import EMBEDDING, original_names, tensors_of


@dataclass(frozen=True)
class UnitMatrix:
    """A weight tensor as a matrix (units, inputs, taps).

    A unit is an output channel of a convolution, an output of a linear layer or of one of the matrices of
    attention and recurrent layers, or a feature of an embedding, whose inputs are tokens. Taps are the
    positions of a kernel.

    Attributes:
        shape: The shape of the tensor.
        taps: The number of positions of a kernel; 1 for all but convolutions.
        blocks: None where units come first. Else inputs come first, as in transposed convolutions and
            embeddings, in this number of groups.

    Example:
        >>> import torch
        >>> transposed = UnitMatrix(torch.Size([4, 3, 5]), taps=5, blocks=2)
        >>> transposed.of(torch.ones(4, 3, 5)).shape
        torch.Size([6, 2, 5])
    """

    shape: torch.Size
    taps: int = 1
    blocks: int | None = None

    def of(self, tensor: Tensor) -> Tensor:
        """Return a tensor of this shape as (units, inputs, taps)."""
        if self.blocks is None:
            return tensor.reshape(self.shape[0], -1, self.taps)
        first, second = self.shape[:2]
        parts = tensor.reshape(self.blocks, first // self.blocks, second, self.taps)
        return parts.transpose(1, 2).flatten(0, 1)

    def back(self, matrix: Tensor) -> Tensor:
        """Invert `of`."""
        if self.blocks is None:
            return matrix.reshape(self.shape)
        first, second = self.shape[:2]
        parts = matrix.reshape(self.blocks, second, first // self.blocks, self.taps)
        return parts.transpose(1, 2).reshape(self.shape)


def unit_matrices(model: nn.Module, names: Collection[str]) -> dict[str, UnitMatrix]:
    """Return the matrices of those of the parameters `names` that are weights of layers.

    Biases and other vectors have none, nor have tensors of another shape than the weight that is computed
    from them. A tensor that an embedding shares with another layer is that layer's.
    """
    first = {id(parameter): name for name, parameter in model.named_parameters()}
    named = dict(model.named_parameters(remove_duplicate=False))
    found: dict[str, UnitMatrix] = {}
    for path, module, weight in sorted(_weights(model), key=lambda each: isinstance(each[1], EMBEDDING)):
        for original in original_names(path, module, weight):
            name = first[id(named[original])]
            if name in names and name not in found and named[original].dim() > 1:
                with torch.no_grad():
                    shape = getattr(module, weight).shape
                if shape == named[original].shape:
                    found[name] = _matrix(module, shape)
    return found


def _weights(model: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """Yield every layer with the names of its weight tensors."""
    for path, module in model.named_modules():
        layer = tensors_of(module)
        names = layer.weights if layer else ("weight",) if isinstance(module, EMBEDDING) else ()
        yield from ((path, module, name) for name in names)


def _matrix(module: nn.Module, shape: torch.Size) -> UnitMatrix:
    if isinstance(module, _ConvNd):
        taps = shape[2:].numel()
        return UnitMatrix(shape, taps, module.groups if isinstance(module, _ConvTransposeNd) else None)
    return UnitMatrix(shape, 1, 1 if isinstance(module, EMBEDDING) else None)
