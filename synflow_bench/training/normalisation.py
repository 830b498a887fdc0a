"""From bytes to what a network is fed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from synflow_bench.data import Dataset


@dataclass(frozen=True)
class Normalisation:
    """x / 255, less the mean, over the standard deviation; `scale` and `shift` have shape (C, 1, 1)."""

    scale: Tensor
    shift: Tensor

    @classmethod
    def of(cls, dataset: Dataset, device: torch.device) -> Normalisation:
        """The normalisation that a data set declares."""
        mean, std = (torch.tensor(v, dtype=torch.float64)[:, None, None] for v in (dataset.mean, dataset.std))
        return cls(*((1 / (255 * std)).to(device, torch.float32), (-mean / std).to(device, torch.float32)))

    def __call__(self, images: Tensor) -> Tensor:
        """`images` (N, C, H, W) uint8 to float32."""
        return images.to(torch.float32).mul_(self.scale).add_(self.shift)
