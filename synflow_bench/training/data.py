"""A data set as training sees it: resident on the device, or streamed to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from synflow_bench.data import Augmentation, Dataset, Read, Split, StreamedSplit
from synflow_bench.errors import DataError
from synflow_bench.training.decoders import Decoders
from synflow_bench.training.normalisation import Normalisation
from synflow_bench.training.resident import ResidentSplit
from synflow_bench.training.streamed import StreamedExamples


class LoadedSplit(Protocol):
    """Examples that come in normalised batches on a device, wherever they are kept."""

    @property
    def labels(self) -> Tensor:
        """Labels (N,) int64, on the device."""

    @property
    def shape(self) -> tuple[int, ...]:
        """That of one example, (C, H, W)."""

    @property
    def resident(self) -> bool:
        """Whether they stay on the device; if not, one pass over them ends those that have begun."""

    def __len__(self) -> int: ...

    def take(self, indices: Tensor) -> LoadedSplit:
        """The examples at `indices` (n,)."""

    def inputs(self, indices: Tensor) -> Tensor:
        """The examples at `indices` (n,), normalised and not augmented: (n, C, H, W) float32."""

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All examples in order, normalised, for evaluation."""

    def shuffled(
        self, size: int, order: Tensor, change: Augmentation | None, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Training batches of `size` in `order` (N,), augmented by `change`; none of a single example."""


@dataclass(frozen=True)
class LoadedData:
    """The published training and test sets of a data set on a device."""

    train: LoadedSplit
    test: LoadedSplit
    input_shape: tuple[int, int, int]
    num_classes: int
    augmentation: Augmentation | None

    @classmethod
    def load(cls, dataset: Dataset, root: Path, device: torch.device) -> LoadedData:
        """Read a data set for `device`; raises `DataError` where it is not what it declares.

        The streamed splits of a data set share the processes that read them.
        """
        splits = dataset.load(root)
        made: dict[Read, Decoders] = {}
        train, test = (_placed(split, dataset, device, made) for split in (splits.train, splits.test))
        return cls(train, test, dataset.input_shape, dataset.num_classes, dataset.augmentation)

    def divide(self, fraction: float, generator: torch.Generator) -> tuple[LoadedSplit, LoadedSplit | None]:
        """Training and validation examples: a random `fraction` of the training set is set apart."""
        held_out = round(fraction * len(self.train))
        if not held_out:
            return self.train, None
        order = torch.randperm(len(self.train), generator=generator)
        return self.train.take(order[held_out:]), self.train.take(order[:held_out])


def balanced_examples(
    split: LoadedSplit, num_classes: int, per_class: int, generator: torch.Generator
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
    return split.inputs(mixed), split.labels[mixed]


def _placed(
    split: Split | StreamedSplit, dataset: Dataset, device: torch.device, made: dict[Read, Decoders]
) -> LoadedSplit:
    normalise = Normalisation.of(dataset, device)
    _check_labels(split, dataset)
    if isinstance(split, StreamedSplit):
        labels, shape = split.labels.to(device), tuple(dataset.input_shape)
        decoders = made.setdefault(split.read, Decoders(split.read, shape, device))
        return StreamedExamples(split.items, labels, normalise, decoders, shape)
    _check_images(split, dataset)
    return ResidentSplit(split.images.to(device), split.labels.to(device), normalise)


def _check_images(split: Split, dataset: Dataset) -> None:
    images, change = split.images, dataset.augmentation
    if images.dtype is not torch.uint8 or tuple(images.shape[1:]) != tuple(dataset.input_shape):
        raise DataError(
            f"it loads {images.dtype} images of shape {tuple(images.shape[1:])}; "
            f"it declares uint8 of {tuple(dataset.input_shape)}"
        )
    if change is not None and (change.resized_crop or change.grayscale or change.jitter):
        raise DataError("it declares changes of colour or scale; only streamed images have them")


def _check_labels(split: Split | StreamedSplit, dataset: Dataset) -> None:
    examples = split.items if isinstance(split, StreamedSplit) else split.images
    labels = split.labels
    if (
        labels.shape != (len(examples),)
        or not 0 <= int(labels.min()) <= int(labels.max()) < dataset.num_classes
    ):
        raise DataError(f"it needs one label below {dataset.num_classes} for every image")
