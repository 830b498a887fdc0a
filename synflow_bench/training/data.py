"""Datasets as training sees them: resident on the device as bytes, or streamed to it by data workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from synflow_bench.data import Augmentation, Dataset, ReadExample, Split, StreamedSplit, data_digest
from synflow_bench.errors import DataError
from synflow_bench.training.device import to_device
from synflow_bench.training.splits import check_splits
from synflow_bench.training.streamed import DataWorkers, StreamedExamples


class LoadedSplit(Protocol):
    """Examples that come in batches on a device, resident or streamed.

    Images (N, C, H, W) are normalized, float32. Sequences of tokens (N, length) stay as they are, int64.
    """

    @property
    def labels(self) -> Tensor:
        """Labels (N,) int64, on the device."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example, (C, H, W)."""

    @property
    def resident(self) -> bool:
        """True if the examples stay on the device; else a new pass over them ends every earlier one."""

    def __len__(self) -> int: ...

    def take(self, indices: Tensor) -> LoadedSplit:
        """Select the examples at `indices` (n,)."""

    def inputs(self, indices: Tensor) -> Tensor:
        """Return the examples at `indices` (n,), normalized and not augmented: (n, C, H, W) float32."""

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all examples in order, normalized, for evaluation."""

    def shuffled(
        self,
        size: int,
        order: Tensor,
        change: Augmentation | None,
        generator: torch.Generator,
        skip: int = 0,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield training batches of `size` in `order` (N,), augmented by `change`, without the first `skip`.

        A last batch of a single example is left out, unless `size` is one: batch norm cannot train on it.
        """


@dataclass(frozen=True)
class LoadedData:
    """The published training and test sets of a dataset on a device."""

    train: LoadedSplit
    test: LoadedSplit
    input_shape: tuple[int, ...]
    num_classes: int
    augmentation: Augmentation | None
    digest: str | None = None
    """The sha256 of the examples as they were loaded."""

    @classmethod
    def load(cls, dataset: Dataset, root: Path, device: torch.device) -> LoadedData:
        """Read a dataset for `device`; splits with the same read function share their data workers.

        Raises:
            DataError: The dataset is missing, is damaged, or differs from its declaration.
        """
        splits = check_splits(dataset.load(root), dataset)
        workers: dict[ReadExample, DataWorkers] = {}
        train, test = (_load_split(split, dataset, device, workers) for split in (splits.train, splits.test))
        digest = data_digest(splits)
        return cls(train, test, dataset.input_shape, dataset.num_classes, dataset.augmentation, digest)

    def divide(self, fraction: float, generator: torch.Generator) -> tuple[LoadedSplit, LoadedSplit | None]:
        """Hold out a random `fraction` of the training set: return the training and validation examples."""
        held_out = round(fraction * len(self.train))
        if not held_out:
            return self.train, None
        order = torch.randperm(len(self.train), generator=generator)
        return self.train.take(order[held_out:]), self.train.take(order[:held_out])


def balanced_examples(
    split: LoadedSplit, num_classes: int, per_class: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw `per_class` examples of every class, normalized and not augmented.

    Of sequences of tokens as many are drawn from all of them: in a text, most tokens are rare.

    Returns:
        Inputs (N, C, H, W) float32 or (N, length) int64, and labels (N,) int64, with
        N = num_classes * per_class, or all examples where there are fewer sequences.

    Raises:
        DataError: A class has too few examples.
    """
    if is_tokens(split.shape):
        return random_examples(split, num_classes * per_class, generator)
    order = torch.randperm(len(split), generator=generator).to(split.labels.device)
    labels = split.labels[order]
    chosen = []
    for label in range(num_classes):
        of_class = order[labels == label][:per_class]
        if len(of_class) < per_class:
            raise DataError(
                f"class {label} has {len(of_class)} training examples; examples_per_class is {per_class}"
            )
        chosen.append(of_class)
    mixed = torch.stack(chosen, dim=1).reshape(-1)
    return split.inputs(mixed), split.labels[mixed]


def random_examples(split: LoadedSplit, number: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw `number` examples without regard to their classes, normalized and not augmented.

    Returns:
        Inputs (N, ...) and labels (N,), with N = `number`, or all examples where there are fewer sequences.

    Raises:
        DataError: There are fewer examples than that.
    """
    if len(split) < number and not is_tokens(split.shape):
        raise DataError(
            f"{number} scoring examples are wanted and there are {len(split)} training examples; "
            "lower pruning.examples_per_class"
        )
    drawn = torch.randperm(len(split), generator=generator)[:number].to(split.labels.device)
    return split.inputs(drawn), split.labels[drawn]


def _load_split(
    split: Split | StreamedSplit,
    dataset: Dataset,
    device: torch.device,
    workers: dict[ReadExample, DataWorkers],
) -> LoadedSplit:
    normalize = _unchanged if is_tokens(dataset.input_shape) else Normalization.of(dataset, device)
    labels = split.labels
    if isinstance(split, StreamedSplit):
        shape = tuple(dataset.input_shape)
        shared = workers.setdefault(split.read, DataWorkers(split.read, shape, device))
        return StreamedExamples(split.items, labels.to(device), normalize, shared, shape)
    _check_examples(split.images, dataset)
    return ResidentSplit(split.images.to(device), labels.to(device), normalize)


def _check_examples(examples: Tensor, dataset: Dataset) -> None:
    change = dataset.augmentation
    if is_tokens(dataset.input_shape):
        if not 0 <= int(examples.min()) <= int(examples.max()) < dataset.num_classes:
            raise DataError(f"it needs tokens from 0 to {dataset.num_classes - 1}, as many as classes")
        if change is not None:
            raise DataError("it declares an augmentation; sequences of tokens can have none")
    if change is not None and (change.resized_crop or change.grayscale or change.jitter):
        raise DataError("it declares changes of color or scale; only streamed images can have them")


def is_tokens(shape: Sequence[int]) -> bool:
    """Return True for (length,), a sequence of tokens, and False for (C, H, W), an image."""
    return len(shape) == 1


def blank_input(shape: Sequence[int]) -> Tensor:
    """Make one example of zeros: an image (1, C, H, W), or a sequence of tokens (1, length) int64."""
    return torch.zeros(1, *shape, dtype=torch.int64 if is_tokens(shape) else None)


def _unchanged(tokens: Tensor) -> Tensor:
    return tokens


@dataclass(frozen=True)
class Normalization:
    """(x / 255 - mean) / std per channel, as x * scale + shift.

    Attributes:
        scale: 1 / (255 std), (C, 1, 1) float32.
        shift: -mean / std, (C, 1, 1) float32.
    """

    scale: Tensor
    shift: Tensor

    @classmethod
    def of(cls, dataset: Dataset, device: torch.device) -> Normalization:
        """Build the normalization that a dataset declares."""
        mean, std = (torch.tensor(v, dtype=torch.float64)[:, None, None] for v in (dataset.mean, dataset.std))
        return cls(*((1 / (255 * std)).to(device, torch.float32), (-mean / std).to(device, torch.float32)))

    def __call__(self, images: Tensor) -> Tensor:
        """Convert `images` (N, C, H, W) from uint8 to float32."""
        return images.to(torch.float32).mul_(self.scale).add_(self.shift)


BLOCK = 2048
"""Examples that are augmented at once, for many batches; the random draws depend on it."""

NORMALIZED = {"cuda": BLOCK}
_NORMALIZED = 256
"""Examples that are normalized at once, on a kind of device and on all others.

Each training in a batch holds that many in float32; fewer of them take more launches.
"""


@dataclass(frozen=True)
class ResidentSplit:
    """Examples that stay on the device, images as bytes.

    Attributes:
        stored: Images (M, C, H, W) uint8, or sequences of tokens (M, length) int64.
        labels: Labels (N,) int64.
        normalize: The conversion of examples to the inputs of a network.
        places: Indices (N,) into `stored`, so that parts of a set share its memory; None is all of it.
    """

    resident: ClassVar[bool] = True
    stored: Tensor
    labels: Tensor
    normalize: Callable[[Tensor], Tensor]
    places: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def images(self) -> Tensor:
        """All images, (N, C, H, W) uint8; a copy where they are only a part of `stored`."""
        return self.stored if self.places is None else self.stored[self.places]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example, (C, H, W)."""
        return tuple(self.stored.shape[1:])

    def take(self, indices: Tensor) -> ResidentSplit:
        """Select the examples at `indices` (n,)."""
        chosen = indices.to(self.labels.device)
        places = chosen if self.places is None else self.places[chosen]
        return replace(self, labels=self.labels[chosen], places=places)

    def inputs(self, indices: Tensor) -> Tensor:
        """Return the examples at `indices` (n,), normalized and not augmented: (n, C, H, W) float32."""
        return self.normalize(self._at(indices.to(self.labels.device)))

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all examples in order, normalized, for evaluation."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield self.normalize(self._at(part)), self.labels[part]

    def shuffled(
        self,
        size: int,
        order: Tensor,
        change: Augmentation | None,
        generator: torch.Generator,
        skip: int = 0,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield training batches of `size` in `order` (N,), augmented by `change`, without the first `skip`.

        A last batch of a single example is left out, unless `size` is one: batch norm cannot train on it.
        """
        return islice(self._batches(size, order, change, generator), skip, None)

    def _batches(
        self, size: int, order: Tensor, change: Augmentation | None, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        normalized = NORMALIZED.get(self.labels.device.type, _NORMALIZED)
        gathered = normalized if change is None else BLOCK
        part = max(1, normalized // size) * size
        for block in torch.split(to_device(order, self.labels.device), max(1, gathered // size) * size):
            images, labels = self._at(block), self.labels[block]
            if change is not None:
                images = augment(images, change, generator)
                if images.device.type != "cpu":  # whose records keep their bits
                    images = images.contiguous()
            for some, of_some in zip(torch.split(images, part), torch.split(labels, part), strict=True):
                inputs = torch.split(self.normalize(some), size)
                batches = zip(inputs, torch.split(of_some, size), strict=True)
                yield from (batch for batch in batches if len(batch[1]) > 1 or size == 1)

    def _at(self, places: Tensor | slice) -> Tensor:
        places = places if self.places is None else self.places[places]
        # Indexing by a tensor is several times slower, as it is made for more than rows.
        return self.stored[places] if isinstance(places, slice) else self.stored.index_select(0, places)


def augment(images: Tensor, change: Augmentation, generator: torch.Generator) -> Tensor:
    """Crop each image at its own random offset after zero padding, and flip half of them on average.

    Args:
        images: Images (N, C, H, W) of any type, on any device.
        change: The padding of the crop, and whether to flip.
        generator: A generator on the CPU, so that the draws are the same on every device.

    Returns:
        Images of the same shape, type and device.
    """
    count, _, height, width = images.shape
    margin = change.crop_padding
    top, left = to_device(torch.randint(2 * margin + 1, (2, count), generator=generator), images.device)
    rows = top[:, None] + torch.arange(height, device=images.device)
    columns = left[:, None] + torch.arange(width, device=images.device)
    if change.flip:
        flipped = to_device(torch.randint(2, (count, 1), generator=generator).bool(), images.device)
        columns = torch.where(flipped, columns.flip(1), columns)
    padded = pad(images, (margin,) * 4) if margin else images
    each = torch.arange(count, device=images.device)[:, None, None]
    return padded[each, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
