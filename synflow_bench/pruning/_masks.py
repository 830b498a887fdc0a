"""Which weights are kept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Self

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from synflow_bench.errors import PluginError


class Masks(Mapping[str, Tensor]):
    """An immutable mapping from parameter names to bool tensors of the parameters' shapes; True is kept."""

    def __init__(self, masks: Mapping[str, Tensor]) -> None:
        if not masks:
            raise PluginError("masks of no parameter; name at least one")
        for name, mask in masks.items():
            if mask.dtype is not torch.bool:
                raise PluginError(f"mask {name!r} is {mask.dtype}; masks are torch.bool")
        self._masks = MappingProxyType(dict(masks))

    @classmethod
    def ones(cls, parameters: Mapping[str, Tensor]) -> Self:
        """Masks that keep everything."""
        return cls({name: torch.ones_like(p, dtype=torch.bool) for name, p in parameters.items()})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read masks that `save` wrote."""
        return cls(load_file(path))

    def save(self, path: Path) -> None:
        """Write the masks as safetensors."""
        save_file({name: mask.contiguous().cpu() for name, mask in self.items()}, path)

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
        """Number of prunable weights."""
        return sum(mask.numel() for mask in self.values())

    @cached_property
    def layer_kept(self) -> Mapping[str, int]:
        """Number of kept weights of each layer."""
        return MappingProxyType({name: _count(mask) for name, mask in self.items()})

    @cached_property
    def kept(self) -> int:
        """Number of kept weights."""
        return sum(self.layer_kept.values())

    @property
    def density(self) -> float:
        """Kept over prunable weights."""
        return self.kept / self.size

    @property
    def compression(self) -> float:
        """Prunable over kept weights; infinite when nothing is kept."""
        return self.size / self.kept if self.kept else float("inf")

    @property
    def layer_density(self) -> Mapping[str, float]:
        """Kept over prunable weights of each layer."""
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
        """Return the masks if they fit `parameters` exactly; raise `PluginError` naming what does not."""
        for name in self.keys() ^ parameters.keys():
            fault = "no mask for" if name in parameters else "a mask for unknown"
            raise PluginError(f"{fault} parameter {name!r}")
        for name, parameter in parameters.items():
            if self[name].shape != parameter.shape:
                shape, expected = tuple(self[name].shape), tuple(parameter.shape)
                raise PluginError(f"mask {name!r} has shape {shape}, its parameter {expected}")
        return self

    def to(self, device: torch.device | str) -> Masks:
        """The same masks on another device."""
        return Masks({name: mask.to(device) for name, mask in self.items()})

    @torch.no_grad()
    def apply_(self, model: nn.Module | Mapping[str, Tensor]) -> None:
        """Set the weights that are not kept to zero, in place."""
        parameters = dict(model.named_parameters()) if isinstance(model, nn.Module) else model
        for name, mask in self.items():
            parameters[name].mul_(mask.to(parameters[name].device))


def _count(mask: Tensor) -> int:
    """How many are True; numpy counts five times as fast as torch does."""
    return int(np.count_nonzero(mask.numpy()) if mask.device.type == "cpu" else mask.count_nonzero())
