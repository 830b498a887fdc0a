"""The rules for datasets, one function per rule, and the dataset that they check."""

from __future__ import annotations

import builtins
import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from synflow_bench.data import Augmentation, Dataset, Split, Splits, StreamedSplit, default_data_root
from synflow_bench.errors import DataMissingError, one_line
from synflow_bench.testing.rules import Broken, PluginSubject, Rule, Skipped, gate, rule
from synflow_bench.training import is_tokens

TOLERANCE = 0.01
"""The most by which a declared mean or deviation may differ from the measured; papers print few digits."""
STREAMED_SAMPLE = 8
"""The number of images of a streamed dataset that are read."""


@dataclass
class DatasetSubject(PluginSubject):
    """A dataset to check: a class, and the data folder."""

    root: Path = field(default_factory=default_data_root)

    @property
    def dataset(self) -> type[Dataset]:
        """The class."""
        dataset: type[Dataset] = self.plugin
        return dataset

    @cached_property
    def splits(self) -> Splits:
        """The loaded splits.

        Raises:
            Skipped: The files are not in the data folder.
        """
        try:
            return self.dataset().load(self.root)
        except DataMissingError as error:
            raise Skipped("its files are not here") from error

    def named_splits(self) -> Iterator[tuple[str, int, Split | StreamedSplit]]:
        """Iterate over the name, the declared size and the content of both splits."""
        train, test = self.dataset.sizes
        yield "train", train, self.splits.train
        yield "test", test, self.splits.test


def contract(subject: DatasetSubject) -> None:
    """The dataset is a subclass of Dataset that can be made without arguments."""
    subject.require_subclass(Dataset)
    subject.dataset()


def declared(subject: DatasetSubject) -> None:
    """The dataset declares shape, classes, sizes, mean, deviation and augmentation, each plausible."""
    dataset = subject.dataset()
    if not hasattr(dataset, "input_shape"):
        raise Broken("input_shape is not declared")
    tokens = is_tokens(dataset.input_shape)
    for name, (is_plausible, valid) in _DECLARED.items():
        if tokens and name in ("mean", "std"):
            continue
        if not hasattr(dataset, name):
            raise Broken(f"{name} is not declared")
        if not is_plausible(dataset):
            raise Broken(f"{name} is {getattr(dataset, name)!r}; give {valid}")


def _positive(*numbers: Any) -> bool:
    return all(type(number) is int and number > 0 for number in numbers)


def _is_shape(shape: tuple[int, ...]) -> bool:
    return len(shape) in {1, 3} and _positive(*shape)


def _one_per_channel(dataset: Dataset, numbers: tuple[float, ...]) -> bool:
    return len(numbers) == dataset.input_shape[0] and all(0 <= number <= 1 for number in numbers)


_DECLARED: dict[str, tuple[Callable[[Dataset], bool], str]] = {
    "input_shape": (
        lambda dataset: _is_shape(dataset.input_shape),
        "(channels, height, width), or (length,) for sequences of tokens",
    ),
    "num_classes": (
        lambda dataset: _positive(dataset.num_classes) and dataset.num_classes > 1,
        "a whole number from 2 on",
    ),
    "sizes": (
        lambda dataset: len(dataset.sizes) == 2 and _positive(*dataset.sizes),
        "the numbers of training and test images",
    ),
    "mean": (
        lambda dataset: _one_per_channel(dataset, dataset.mean),
        "a number from 0 to 1 for each channel",
    ),
    "std": (
        lambda dataset: _one_per_channel(dataset, dataset.std) and min(dataset.std) > 0,
        "a number above 0 and up to 1 for each channel",
    ),
    "augmentation": (
        lambda dataset: (
            dataset.augmentation is None
            or (isinstance(dataset.augmentation, Augmentation) and not is_tokens(dataset.input_shape))
        ),
        "an Augmentation or None; sequences of tokens have none",
    ),
    "revision": (lambda dataset: _positive(dataset.revision), "a whole number from 1 on"),
}
"""The attributes that a dataset declares, each with a plausibility test and a description of valid values."""


def off_disk(subject: DatasetSubject) -> None:
    """The dataset is made and declares everything without opening a file or listing a folder."""
    with _recorded_reads() as touched:
        dataset = subject.dataset()
        for name in _DECLARED:
            getattr(dataset, name, None)
    if touched:
        raise Broken(f"it reads {touched[0]}; declare constants, and read files in load()")


@contextmanager
def _recorded_reads() -> Iterator[list[str]]:
    """Record the files that are opened and the folders that are listed."""
    touched: list[str] = []

    def recorded(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            touched.append(str(arguments[0]) if arguments else "a folder")
            return real(*arguments, **options)

        return call

    functions = ((builtins, "open"), (io, "open"), (os, "open"), (os, "scandir"), (os, "listdir"))
    with ExitStack() as stack:
        for owner, name in functions:
            stack.enter_context(patch.object(owner, name, recorded(getattr(owner, name))))
        yield touched


def absent(subject: DatasetSubject) -> None:
    """In an empty data folder, present() is False and load() raises a DataMissingError."""
    with TemporaryDirectory() as empty:
        present = subject.dataset().present(Path(empty))
        if type(present) is not bool:
            raise Broken(f"present() returns {present!r}; return True or False")
        if any(Path(empty).iterdir()):
            raise Broken("present() writes into the data folder; only look for names there")
        if present:
            raise Skipped("it needs no files of the data folder")
        try:
            subject.dataset().load(Path(empty))
        except DataMissingError:
            return
        except Exception as error:
            raised = one_line(error)
            raise Broken(f"load() in an empty folder raises {raised}; raise a DataMissingError") from error
    raise Broken("load() works in an empty folder, where present() is False")


def loads(subject: DatasetSubject) -> None:
    """The dataset loads a Splits if present() is True."""
    present = subject.dataset().present(subject.root)
    try:
        splits = subject.splits
    except Skipped as reason:
        if present:
            raise Broken(f"present() is True, but load() raises: {reason.__cause__}") from reason
        raise Skipped(str(reason.__cause__)) from reason
    if not isinstance(splits, Splits):
        raise Broken(f"load() returns a {type(splits).__name__}; return Splits(train, test)")


def images(subject: DatasetSubject) -> None:
    """The images are uint8 (N, *input_shape) on the CPU, tokens int64; of streamed ones a few are read."""
    tokens = is_tokens(subject.dataset.input_shape)
    for name, _, split in subject.named_splits():
        sample = _sample(split)
        found = (sample.dtype, tuple(sample.shape[1:]), sample.device.type)
        expected = (torch.int64 if tokens else torch.uint8, tuple(subject.dataset.input_shape), "cpu")
        if found != expected:
            raise Broken(f"{name} images are {_text(*found)}; they must be {_text(*expected)}")
        if tokens and not 0 <= int(sample.min()) <= int(sample.max()) < subject.dataset.num_classes:
            raise Broken(f"{name} tokens go from {int(sample.min())} to {int(sample.max())}")


def _sample(split: Split | StreamedSplit) -> Tensor:
    """Return all images (N, C, H, W) of a split in memory, or the first few of a streamed one."""
    if isinstance(split, Split):
        return split.images
    return torch.stack([split.read(item, augmented=False) for item in split.items[:STREAMED_SAMPLE]])


def _text(dtype: torch.dtype, shape: tuple[int, ...], device: str) -> str:
    return f"{dtype} of {'x'.join(map(str, shape))} on {device}"


def sizes(subject: DatasetSubject) -> None:
    """The splits have as many images as declared, with one label each."""
    for name, size, split in subject.named_splits():
        count = len(split.images if isinstance(split, Split) else split.items)
        if (count, len(split.labels)) != (size, size):
            found = f"{count} images and {len(split.labels)} labels"
            raise Broken(f"{name} has {found}; sizes declares {size}")


def labels(subject: DatasetSubject) -> None:
    """The labels are int64 (N,) from 0 to num_classes - 1, and all classes of images are trained."""
    classes = subject.dataset.num_classes
    for name, _, split in subject.named_splits():
        if split.labels.dtype is not torch.int64 or split.labels.dim() != 1:
            raise Broken(f"{name} labels are {split.labels.dtype} of {split.labels.dim()} dimensions")
        low, high = int(split.labels.min()), int(split.labels.max())
        if low < 0 or high >= classes:
            raise Broken(f"{name} labels go from {low} to {high} with {classes} classes")
    if is_tokens(subject.dataset.input_shape):
        return
    counts = torch.bincount(subject.splits.train.labels, minlength=classes).tolist()
    if 0 in counts:
        raise Broken(f"class {counts.index(0)} has no training example")


def statistics(subject: DatasetSubject) -> str:
    """The declared mean and deviation are those of the training images, scaled to [0, 1], to within 0.01."""
    train = subject.splits.train
    if is_tokens(subject.dataset.input_shape):
        raise Skipped("tokens are not normalized")
    if not isinstance(train, Split):
        raise Skipped("its images are streamed: reading all of them would take too long")
    mean, std = channel_statistics(train.images)
    for name, found in (("mean", mean), ("std", std)):
        stated = getattr(subject.dataset, name)
        if any(abs(a - b) > TOLERANCE for a, b in zip(stated, found, strict=True)):
            raise Broken(f"{name} is declared as {_digits(stated)} and measured as {_digits(found)}")
    return f"measured {_digits(mean)} and {_digits(std)}"


def channel_statistics(images: Tensor) -> tuple[list[float], list[float]]:
    """Compute the exact mean and standard deviation of each channel of images, scaled to [0, 1].

    Args:
        images: (N, C, H, W) uint8.
    """
    levels = torch.arange(256, dtype=torch.float64) / 255
    mean, std = [], []
    for channel in images.unbind(dim=1):
        share = torch.bincount(channel.reshape(-1), minlength=256).double() / channel.numel()
        mean.append(float(share @ levels))
        std.append(float((share @ (levels - mean[-1]).square()).sqrt()))
    return mean, std


def _digits(numbers: Any) -> str:
    return " ".join(f"{number:.4f}" for number in numbers)


def repeatable(subject: DatasetSubject) -> None:
    """Two loads give the same examples."""
    first = subject.splits
    again = subject.dataset().load(subject.root)
    for name, one, other in (("train", first.train, again.train), ("test", first.test, again.test)):
        if not (torch.equal(_sample(one), _sample(other)) and torch.equal(one.labels, other.labels)):
            raise Broken(f"the {name} split differs between two loads")


DATASET_RULES: tuple[Rule[DatasetSubject], ...] = (
    *map(gate, (contract, declared)),
    *map(rule, (off_disk, absent)),
    *map(gate, (loads, images, sizes)),
    *map(rule, (labels, statistics, repeatable)),
)
"""The rules for datasets, in the order of their check."""
