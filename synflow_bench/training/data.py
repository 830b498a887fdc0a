"""A data set as bytes on the device, split and normalised there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from synflow_bench.data import Augmentation, Dataset, Split
from synflow_bench.errors import DataError
from synflow_bench.training.augment import augment

BLOCK = 2048
"""Examples that are gathered and normalised together: one call for many batches."""


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


@dataclass(frozen=True)
class ResidentSplit:
    """Examples that stay on the device: `images` (N, C, H, W) uint8, `labels` (N,) int64."""

    images: Tensor
    labels: Tensor
    normalise: Normalisation

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> ResidentSplit:
        """The examples at `indices` (n,)."""
        chosen = indices.to(self.labels.device)
        return ResidentSplit(self.images[chosen], self.labels[chosen], self.normalise)

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

        A last batch of a single example is left out: batch norm cannot train on it.
        """
        device = self.labels.device
        for block in torch.split(order.to(device), max(1, BLOCK // size) * size):
            images = self.images[block]
            if change is not None:
                images = augment(images, change, generator)
            batches = zip(
                torch.split(self.normalise(images), size), torch.split(self.labels[block], size), strict=True
            )
            yield from ((inputs, labels) for inputs, labels in batches if len(labels) > 1)


@dataclass(frozen=True)
class ResidentData:
    """The published training and test sets of a data set on a device."""

    train: ResidentSplit
    test: ResidentSplit
    input_shape: tuple[int, int, int]
    num_classes: int
    augmentation: Augmentation | None

    @classmethod
    def load(cls, dataset: Dataset, root: Path, device: torch.device) -> ResidentData:
        """Read a data set and move it to `device`; raises `DataError` where it is not what it declares."""
        splits = dataset.load(root)
        normalise = Normalisation.of(dataset, device)
        for split in (splits.train, splits.test):
            _check(split, dataset)
        train, test = (
            ResidentSplit(split.images.to(device), split.labels.to(device), normalise)
            for split in (splits.train, splits.test)
        )
        return cls(train, test, dataset.input_shape, dataset.num_classes, dataset.augmentation)

    def divide(
        self, fraction: float, generator: torch.Generator
    ) -> tuple[ResidentSplit, ResidentSplit | None]:
        """Training and validation examples: a random `fraction` of the training set is set apart."""
        held_out = round(fraction * len(self.train))
        if not held_out:
            return self.train, None
        order = torch.randperm(len(self.train), generator=generator)
        return self.train.take(order[held_out:]), self.train.take(order[:held_out])


def balanced_examples(
    split: ResidentSplit, num_classes: int, per_class: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """`per_class` examples of every class, normalised and not augmented.

    Returns inputs (N, C, H, W) float32 and labels (N,) int64. Raises `DataError` where a class has too few.
    """
    order = torch.randperm(len(split), generator=generator).to(split.labels.device)
    labels = split.labels[order]
    chosen = []
    for label in range(num_classes):
        of_class = order[labels == label][:per_class]
        if len(of_class) < per_class:
            raise DataError(
                f"class {label} has {len(of_class)} training examples, examples_per_class asks {per_class}"
            )
        chosen.append(of_class)
    mixed = torch.stack(chosen, dim=1).reshape(-1)
    return split.normalise(split.images[mixed]), split.labels[mixed]


def _check(split: Split, dataset: Dataset) -> None:
    images, labels = split.images, split.labels
    if images.dtype is not torch.uint8 or tuple(images.shape[1:]) != tuple(dataset.input_shape):
        raise DataError(
            f"data set {type(dataset).__name__} loads {images.dtype} images of shape "
            f"{tuple(images.shape[1:])}; it declares uint8 of {tuple(dataset.input_shape)}"
        )
    if (
        labels.shape != images.shape[:1]
        or not 0 <= int(labels.min()) <= int(labels.max()) < dataset.num_classes
    ):
        raise DataError(
            f"data set {type(dataset).__name__} needs one label below {dataset.num_classes} for every image"
        )
