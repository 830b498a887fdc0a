"""In what precision and memory format a recipe computes."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from synflow_bench.suites import Recipe


@dataclass(frozen=True)
class Precision:
    """float32, or bfloat16 autocast over float32 weights; contiguous, or channels last."""

    device_type: str
    bf16: bool
    channels_last: bool

    @classmethod
    def of(cls, recipe: Recipe, device: torch.device) -> Precision:
        """The precision that a recipe asks for."""
        return cls(device.type, recipe.precision == "bf16", recipe.channels_last)

    @property
    def sums(self) -> torch.dtype:
        """The widest floating-point type of the device, for sums over many examples."""
        return torch.float32 if self.device_type == "mps" else torch.float64

    def autocast(self) -> AbstractContextManager[object]:
        """A context in which forward passes run in bfloat16 where the recipe says so."""
        return torch.autocast(self.device_type, dtype=torch.bfloat16) if self.bf16 else nullcontext()

    def laid_out(self, inputs: Tensor) -> Tensor:
        """`inputs` (N, C, H, W) in the recipe's memory format."""
        return inputs.contiguous(memory_format=torch.channels_last) if self.channels_last else inputs

    def lay_out(self, model: nn.Module) -> nn.Module:
        """`model` in the recipe's memory format."""
        return model.to(memory_format=torch.channels_last) if self.channels_last else model
