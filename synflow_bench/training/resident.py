"""Examples that stay on the device as bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from synflow_bench.data import Augmentation
from synflow_bench.training.augment import augment
from synflow_bench.training.normalisation import Normalisation

BLOCK = 2048
"""Examples that are augmented together: one call for many batches. What is drawn for each depends on it."""

NORMALISED = 256
"""How many are normalised together, and gathered where they are not augmented: each training of several holds
as many as floats."""


@dataclass(frozen=True)
class ResidentSplit:
    """Examples that stay on the device: `stored` (M, C, H, W) uint8, `labels` (N,) int64.

    With `places` (N,) they are the images at these places, so that the parts of a set share its memory.
    """

    resident: ClassVar[bool] = True
    stored: Tensor
    labels: Tensor
    normalise: Normalisation
    places: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def images(self) -> Tensor:
        """All images, (N, C, H, W) uint8: copied, where they are but a part of what is stored."""
        return self.stored if self.places is None else self.stored[self.places]

    @property
    def shape(self) -> tuple[int, ...]:
        """That of one example, (C, H, W)."""
        return tuple(self.stored.shape[1:])

    def take(self, indices: Tensor) -> ResidentSplit:
        """The examples at `indices` (n,)."""
        chosen = indices.to(self.labels.device)
        places = chosen if self.places is None else self.places[chosen]
        return replace(self, labels=self.labels[chosen], places=places)

    def inputs(self, indices: Tensor) -> Tensor:
        """The examples at `indices` (n,), normalised and not augmented: (n, C, H, W) float32."""
        return self.normalise(self._at(indices.to(self.labels.device)))

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All examples in order, normalised, for evaluation."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield self.normalise(self._at(part)), self.labels[part]

    def shuffled(
        self, size: int, order: Tensor, change: Augmentation | None, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Training batches of `size` in `order` (N,), augmented by `change`.

        A last batch of a single example is left out, unless all are: batch norm cannot train on it.
        """
        device = self.labels.device
        together = NORMALISED if change is None else BLOCK
        for block in torch.split(order.to(device), max(1, together // size) * size):
            images = self._at(block)
            if change is not None:
                images = augment(images, change, generator)
            yield from self._normalised(images, self.labels[block], size)

    def _at(self, places: Tensor | slice) -> Tensor:
        places = places if self.places is None else self.places[places]
        # Indexing by a tensor is several times slower, as it is made for more than rows.
        return self.stored[places] if isinstance(places, slice) else self.stored.index_select(0, places)

    def _normalised(self, images: Tensor, labels: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        part = max(1, NORMALISED // size) * size
        for some, theirs in zip(torch.split(images, part), torch.split(labels, part), strict=True):
            batches = zip(torch.split(self.normalise(some), size), torch.split(theirs, size), strict=True)
            yield from ((inputs, each) for inputs, each in batches if len(each) > 1 or size == 1)
