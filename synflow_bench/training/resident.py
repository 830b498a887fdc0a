"""Examples that stay on the device as bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from synflow_bench.data import Augmentation
from synflow_bench.training.augment import augment
from synflow_bench.training.normalisation import Normalisation

BLOCK = 2048
"""Examples that are gathered and normalised together: one call for many batches."""


@dataclass(frozen=True)
class ResidentSplit:
    """Examples that stay on the device: `images` (N, C, H, W) uint8, `labels` (N,) int64."""

    resident: ClassVar[bool] = True
    images: Tensor
    labels: Tensor
    normalise: Normalisation

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """That of one example, (C, H, W)."""
        return tuple(self.images.shape[1:])

    def take(self, indices: Tensor) -> ResidentSplit:
        """The examples at `indices` (n,)."""
        chosen = indices.to(self.labels.device)
        return ResidentSplit(self.images[chosen], self.labels[chosen], self.normalise)

    def inputs(self, indices: Tensor) -> Tensor:
        """The examples at `indices` (n,), normalised and not augmented: (n, C, H, W) float32."""
        return self.normalise(self.images[indices.to(self.labels.device)])

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All examples in order, normalised, for evaluation."""
        for images, labels in zip(
            torch.split(self.images, size), torch.split(self.labels, size), strict=True
        ):
            yield self.normalise(images), labels

    def shuffled(
        self, size: int, order: Tensor, change: Augmentation | None, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Training batches of `size` in `order` (N,), augmented by `change`.

        A last batch of a single example is left out, unless all are: batch norm cannot train on it.
        """
        device = self.labels.device
        for block in torch.split(order.to(device), max(1, BLOCK // size) * size):
            images = self.images[block]
            if change is not None:
                images = augment(images, change, generator)
            batches = zip(
                torch.split(self.normalise(images), size), torch.split(self.labels[block], size), strict=True
            )
            yield from ((inputs, labels) for inputs, labels in batches if len(labels) > 1 or size == 1)
