"""The contract of a data set. Imports no torch: what a data set declares is read without touching disk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training image.

    A crop after zero padding by `crop_padding`, and a horizontal `flip`, are made on the device. A streamed
    data set makes its own where it reads: for photographs a crop of a share of the area within
    `resized_crop`, resized; no colours with probability `grayscale`; and brightness, contrast, saturation and
    hue changed by up to `jitter`.
    """

    crop_padding: int = 0
    flip: bool = False
    resized_crop: tuple[float, float] | None = None
    grayscale: float = 0.0
    jitter: float = 0.0


@dataclass(frozen=True)
class Split:
    """`images` (N, C, H, W) uint8 and `labels` (N,) int64, on the CPU: all in memory."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


class Read(Protocol):
    """How one example of a streamed data set is read; can be hashed, and pickled for other processes."""

    def __call__(self, item: str, *, augmented: bool) -> Tensor:
        """The image (C, H, W) uint8 of `item`, as it is evaluated or `augmented` for training.

        Draws come from torch's global generator, which the harness has seeded for this example and epoch.
        Raises `DataError` where the image cannot be read.
        """


@dataclass(frozen=True)
class StreamedSplit:
    """Examples that are read when they are needed, because all of them would not fit in memory.

    `items` (N) say where each is, such as a path; `labels` (N,) int64 are on the CPU. `read` runs in
    processes of its own.
    """

    items: Sequence[str]
    labels: Tensor
    read: Read

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Splits:
    """The training and test sets as published."""

    train: Split | StreamedSplit
    test: Split | StreamedSplit


class Dataset(ABC):
    """A set of labelled images: small enough to live in memory as bytes (`Split`), or streamed from disk.

    `mean` and `std` are those of the training images scaled to [0, 1], one number a channel.
    Raise `revision` when what `load` returns changes: it is part of every cell's key.
    """

    revision: ClassVar[int] = 1
    input_shape: ClassVar[tuple[int, int, int]]
    num_classes: ClassVar[int]
    sizes: ClassVar[tuple[int, int]]
    """Numbers of training and test images."""
    mean: ClassVar[tuple[float, ...]]
    std: ClassVar[tuple[float, ...]]
    augmentation: ClassVar[Augmentation | None] = None

    @abstractmethod
    def present(self, root: Path) -> bool:
        """Whether `load` would find its files, by a look at names and no more."""

    @abstractmethod
    def load(self, root: Path, *, download: bool = False) -> Splits:
        """Read both splits from below `root`, fetching them first if `download`.

        Raises `DataMissingError` when files are absent and `DataError` when they are damaged.
        """

    def by_hand(self, root: Path) -> str | None:  # noqa: ARG002  for those that override it
        """What to do where its files are not below `root` and cannot be downloaded; None where they can."""
        return None
