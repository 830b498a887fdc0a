"""The contract of a dataset, the folder of all datasets, and the command that fetches them.

Imports no torch: what a dataset declares can be read without touching the disk.
"""

from __future__ import annotations

import os
import shlex
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

import platformdirs

if TYPE_CHECKING:
    from torch import Tensor

DATA_VARIABLE = "SYNFLOW_BENCH_DATA"
"""The environment variable that names the data folder."""


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training images.

    `crop_padding` and `flip` are applied on the device. The rest is for streamed datasets, which apply it
    where they read an image.

    Attributes:
        crop_padding: Pixels of zeros on each side, before a random crop to the old size.
        flip: Flip horizontally with probability 0.5.
        resized_crop: A crop of a share of the area within these bounds, resized to the input size.
        grayscale: The probability of removing the colors.
        jitter: The largest relative change of brightness, contrast, saturation and hue.
    """

    crop_padding: int = 0
    flip: bool = False
    resized_crop: tuple[float, float] | None = None
    grayscale: float = 0.0
    jitter: float = 0.0


@dataclass(frozen=True)
class Split:
    """Examples that are all in memory, on the CPU: `images` (N, C, H, W) uint8 and `labels` (N,) int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


class ReadExample(Protocol):
    """The function that reads one example of a streamed dataset.

    It must be hashable, and picklable for the processes that read data.
    """

    def __call__(self, item: str, *, augmented: bool) -> Tensor:
        """Return the image of `item`, (C, H, W) uint8.

        Args:
            item: An entry of `StreamedSplit.items`.
            augmented: Apply the random changes of training. Draw them from torch's global generator, which
                the harness has seeded for this example and epoch.

        Raises:
            DataError: The image cannot be read.
        """


@dataclass(frozen=True)
class StreamedSplit:
    """Examples that are read when needed, because all of them would not fit in memory.

    Attributes:
        items: The place of each example, such as a path; N of them.
        labels: The classes, (N,) int64, on the CPU.
        read: Reads one item; it runs in processes of its own.
    """

    items: Sequence[str]
    labels: Tensor
    read: ReadExample

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Splits:
    """The training and test sets as published."""

    train: Split | StreamedSplit
    test: Split | StreamedSplit


class Dataset(ABC):
    """Labeled images, either small enough for memory (`Split`) or streamed from disk (`StreamedSplit`).

    Attributes:
        revision: Part of every cell's key; raise it when the result of `load` changes.
        input_shape: The shape (C, H, W) of one image.
        num_classes: The number of classes.
        sizes: The numbers of training and test images.
        mean: The mean of the training images scaled to [0, 1], one number per channel.
        std: The standard deviation of the same, one number per channel.
        augmentation: The random changes for training, or None.
    """

    revision: ClassVar[int] = 1
    input_shape: ClassVar[tuple[int, int, int]]
    num_classes: ClassVar[int]
    sizes: ClassVar[tuple[int, int]]
    mean: ClassVar[tuple[float, ...]]
    std: ClassVar[tuple[float, ...]]
    augmentation: ClassVar[Augmentation | None] = None

    @abstractmethod
    def present(self, root: Path) -> bool:
        """Return True if `load` would find its files below `root`; look at names only."""

    @abstractmethod
    def load(self, root: Path, *, download: bool = False) -> Splits:
        """Read both splits from below `root`.

        Args:
            root: The data folder.
            download: Fetch missing files first.

        Raises:
            DataMissingError: Files are missing.
            DataError: Files are damaged.
        """

    def by_hand(self, root: Path) -> str | None:  # noqa: ARG002  for those that override it
        """Say how to get the files below `root` if they cannot be downloaded; None if they can."""
        return None


def default_data_root() -> Path:
    """Return the folder that `SYNFLOW_BENCH_DATA` names, else one in the user's own data folder."""
    named = os.environ.get(DATA_VARIABLE)
    return Path(named) if named else platformdirs.user_data_path("synflow-bench", appauthor=False) / "data"


def download_command(root: Path, *names: str) -> str:
    """Return the command line that fetches the datasets `names` into `root`.

    Example:
        >>> download_command(Path("my data"), "mnist")
        "synflow-bench data download mnist --data 'my data'"
    """
    command = ["synflow-bench", "data", "download", *names]
    if root != default_data_root():
        command += ["--data", str(root)]
    return shlex.join(command)
