"""Masks: which weights of a network are kept, and which of its parameters may be pruned at all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Self

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from synflow_bench.errors import ModelError, PluginError
from synflow_bench.files import write_atomically
from synflow_bench.suites import PruningOptions


class Masks(Mapping[str, Tensor]):
    """An immutable mapping from parameter names to masks: bool tensors of the parameters' shapes.

    True keeps a weight, False removes it. Masks are equal when names, shapes and bits are, on any device.

    Args:
        masks: A mask per prunable parameter.

    Raises:
        PluginError: There is no mask, or one is not a bool tensor.

    Example:
        >>> import torch
        >>> masks = Masks({"fc.weight": torch.tensor([[True, False], [False, False]])})
        >>> masks
        Masks(1 of 4 kept in 1 layers, compression 4)
        >>> masks.density, masks["fc.weight"].shape
        (0.25, torch.Size([2, 2]))
    """

    def __init__(self, masks: Mapping[str, Tensor]) -> None:
        if not masks:
            raise PluginError("masks of no parameter; name at least one")
        for name, mask in masks.items():
            if mask.dtype is not torch.bool:
                raise PluginError(f"mask {name!r} is {mask.dtype}; masks are torch.bool")
        self._masks = MappingProxyType(dict(masks))

    @classmethod
    def ones(cls, parameters: Mapping[str, Tensor]) -> Self:
        """Make masks that keep every entry of `parameters`."""
        return cls({name: torch.ones_like(p, dtype=torch.bool) for name, p in parameters.items()})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read masks that `save` wrote."""
        return cls(load_file(path))

    def save(self, path: Path) -> None:
        """Write the masks as a safetensors file: the whole file or nothing.

        Raises:
            RecordError: The file cannot be written.
        """
        write_atomically(path, save({name: mask.contiguous().cpu() for name, mask in self.items()}))

    def __getitem__(self, name: str) -> Tensor:
        return self._masks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._masks)

    def __len__(self) -> int:
        return len(self._masks)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Masks) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __repr__(self) -> str:
        kept = f"{self.kept} of {self.size} kept in {len(self)} layers"
        return f"Masks({kept}, compression {self.compression:.4g})"

    @cached_property
    def size(self) -> int:
        """The number of prunable weights."""
        return sum(mask.numel() for mask in self.values())

    @cached_property
    def layer_kept(self) -> Mapping[str, int]:
        """The number of kept weights per layer."""
        # numpy counts five times as fast as torch does.
        return MappingProxyType(
            {
                name: int(np.count_nonzero(m.numpy()) if m.device.type == "cpu" else m.count_nonzero())
                for name, m in self.items()
            }
        )

    @cached_property
    def kept(self) -> int:
        """The number of kept weights."""
        return sum(self.layer_kept.values())

    @property
    def density(self) -> float:
        """Kept over prunable weights."""
        return self.kept / self.size

    @property
    def compression(self) -> float:
        """The compression ratio: prunable over kept weights; infinite when nothing is kept."""
        return self.size / self.kept if self.kept else float("inf")

    @property
    def layer_density(self) -> Mapping[str, float]:
        """Kept over prunable weights per layer."""
        return {name: kept / self[name].numel() for name, kept in self.layer_kept.items()}

    @cached_property
    def sha256(self) -> str:
        """A hash of names, shapes and bits, the same on every device."""
        hasher = hashlib.sha256()
        for name in sorted(self):
            mask = self[name].cpu()
            hasher.update(f"{name}{tuple(mask.shape)}".encode())
            hasher.update(np.packbits(mask.numpy()).tobytes())
        return hasher.hexdigest()

    def check(self, parameters: Mapping[str, Tensor]) -> Self:
        """Return the masks if they fit `parameters`.

        Raises:
            PluginError: Names or shapes differ; the message names the parameter.
        """
        for name in self.keys() ^ parameters.keys():
            problem = "no mask for" if name in parameters else "a mask for unknown"
            raise PluginError(f"{problem} parameter {name!r}")
        for name, parameter in parameters.items():
            if self[name].shape != parameter.shape:
                shape, expected = tuple(self[name].shape), tuple(parameter.shape)
                raise PluginError(f"mask {name!r} has shape {shape}, its parameter {expected}")
        return self

    def to(self, device: torch.device | str) -> Masks:
        """Return the same masks on another device."""
        return Masks({name: mask.to(device) for name, mask in self.items()})

    @torch.no_grad()
    def apply_(self, model: nn.Module | Mapping[str, Tensor]) -> None:
        """Set the weights that are not kept to zero, in place.

        Args:
            model: A network, or parameters by name.
        """
        parameters = dict(model.named_parameters()) if isinstance(model, nn.Module) else model
        for name, mask in self.items():
            parameters[name].mul_(mask.to(parameters[name].device))


class ResidualScale(nn.Module):
    """A factor per channel of an identity shortcut, which makes the shortcut prunable.

    The factors `scale` (C,) are ones and are not trained, so that nothing changes until `prune_residual`
    removes some of them: then the shortcut of these channels is cut.

    Tanaka et al., "Pruning neural networks without any data by iteratively conserving synaptic flow", 2020,
    arXiv 2006.05467, whose code has this option.

    Args:
        channels: The number C of channels.

    Shape:
        - Input and output: (N, C, H, W).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels of `x`."""
        return x * self.scale[:, None, None]


def prunable_parameters(
    model: nn.Module, options: PruningOptions, *, called: str | None = None
) -> dict[str, nn.Parameter]:
    """Return the prunable parameters of `model` by name, in the order of its modules.

    These are the weights of `Linear` and `Conv` layers. A tensor that several modules share has the name of
    the first.

    Args:
        model: The network.
        options: Adds biases, the scales and shifts of batch norm and the scales of `ResidualScale`, or leaves
            out the classifier with all that shares its weights. The classifier is the last linear layer, or
            the last convolution of a network without linear layers.
        called: The name of the network in messages; by default its class.

    Raises:
        ModelError: Nothing is prunable, or the options name residual scales and the network has none.

    Example:
        >>> from torch import nn
        >>> from synflow_bench import PruningOptions
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> list(prunable_parameters(model, PruningOptions(prune_bias=True)))
        ['0.weight', '0.bias', '2.weight', '2.bias']
    """
    called = called or type(model).__name__
    if options.prune_residual and not any(isinstance(module, ResidualScale) for module in model.modules()):
        raise ModelError(
            f"{called} has no residual scales to prune; leave out prune_residual, or build a "
            "residual network with its option `residual = true`"
        )
    dense = {id(parameter) for parameter in _classifier(model)} if options.dense_classifier else set()
    names = (name for path, module in model.named_modules() for name in _names(path, module, options))
    sparse = {name: p for name, p in model.named_parameters() if id(p) not in dense}
    parameters = {name: sparse[name] for name in names if name in sparse}
    if not parameters:
        raise ModelError(f"{called} has nothing to prune; it needs a linear or convolutional layer")
    return parameters


def _names(path: str, module: nn.Module, options: PruningOptions) -> Iterator[str]:
    prefix = f"{path}." if path else ""
    if isinstance(module, nn.Linear | _ConvNd):
        yield f"{prefix}weight"
        if options.prune_bias:
            yield f"{prefix}bias"
    elif isinstance(module, _BatchNorm) and options.prune_batchnorm:
        yield from (f"{prefix}weight", f"{prefix}bias")
    elif isinstance(module, ResidualScale) and options.prune_residual:
        yield f"{prefix}scale"


def _classifier(model: nn.Module) -> Iterator[nn.Parameter]:
    for kind in (nn.Linear, _ConvNd):
        layers = [module for module in model.modules() if isinstance(module, kind)]
        if layers:
            return layers[-1].parameters()
    return iter(())
