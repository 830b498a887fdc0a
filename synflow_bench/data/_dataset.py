"""The contract of a data set. Imports no torch: what a data set declares is read without touching disk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training image: a crop after zero padding by `crop_padding`, and a horizontal
    flip."""

    crop_padding: int = 0
    flip: bool = False


@dataclass(frozen=True)
class Split:
    """`images` (N, C, H, W) uint8 and `labels` (N,) int64, on the CPU."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Splits:
    """The training and test sets as published."""

    train: Split
    test: Split


class Dataset(ABC):
    """A set of labelled images, small enough to live in memory as bytes.

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
