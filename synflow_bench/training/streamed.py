"""Examples that are read from disk as they are needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from synflow_bench.data import Augmentation
from synflow_bench.training.decoders import Decoders, Request
from synflow_bench.training.normalisation import Normalisation

SEEDS = 2**62
CHUNK = 64
"""Examples that are read together where nobody says how many."""


@dataclass(frozen=True)
class StreamedExamples:
    """Examples that processes read: `items` (N) where they are, `labels` (N,) int64 on the device.

    Every example of every epoch has a seed of its own for its augmentation, drawn in the order of the epoch,
    so that the batches do not depend on the number of processes.
    """

    resident: ClassVar[bool] = False
    items: Sequence[str]
    labels: Tensor
    normalise: Normalisation
    decoders: Decoders
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> StreamedExamples:
        """The examples at `indices` (n,)."""
        items = [self.items[i] for i in indices.tolist()]
        labels = self.labels[indices.to(self.labels.device)]
        return StreamedExamples(items, labels, self.normalise, self.decoders, self.shape)

    def inputs(self, indices: Tensor) -> Tensor:
        """The examples at `indices` (n,), normalised and not augmented: (n, C, H, W) float32."""
        return torch.cat([inputs for inputs, _ in self.take(indices).batches(CHUNK)])

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All examples in order, normalised, for evaluation."""
        order = torch.arange(len(self))
        return self._stream(torch.split(order, size), torch.split(torch.full_like(order, -1), size))

    def shuffled(
        self, size: int, order: Tensor, change: Augmentation | None, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Training batches of `size` in `order` (N,), augmented unless `change` is None.

        A last batch of a single example is left out: batch norm cannot train on it.
        """
        seeds = torch.full_like(order, -1)
        if change is not None:
            seeds = torch.randint(SEEDS, order.shape, generator=generator)
        pairs = zip(torch.split(order, size), torch.split(seeds, size), strict=True)
        kept = [pair for pair in pairs if len(pair[0]) > 1 or size == 1]
        return self._stream([indices for indices, _ in kept], [seeds for _, seeds in kept])

    def _stream(self, batches: Sequence[Tensor], seeds: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of the examples at indices, each with its seed; -1 where it is not augmented."""
        device = self.labels.device
        requests = (self._requests(*pair) for pair in zip(batches, seeds, strict=True))
        for indices, images in zip(batches, self.decoders.images(requests), strict=True):
            inputs = self.normalise(images.to(device, non_blocking=True))
            yield inputs, self.labels[indices.to(device)]

    def _requests(self, indices: Tensor, seeds: Tensor) -> list[Request]:
        pairs = zip(indices.tolist(), seeds.tolist(), strict=True)
        return [(self.items[index], None if seed < 0 else seed) for index, seed in pairs]
