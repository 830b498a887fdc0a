"""What every data set must keep to: one small function a rule."""

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
from synflow_bench.errors import DataMissingError
from synflow_bench.testing._dependencies import Dependencies
from synflow_bench.testing._rule import Broken, NotAsked, Rule, gate, rule
from synflow_bench.testing._subject import named

TOLERANCE = 0.01
"""How far a declared mean or deviation may be from the measured one; papers print two or three digits."""
FEW = 8
"""So many images of a streamed data set are read."""
DECLARED = ("input_shape", "num_classes", "sizes", "mean", "std", "augmentation", "revision")


@dataclass
class DatasetSubject:
    """A data set's class, and the data folder; `load` brings the class, imported now if need be."""

    name: str
    load: Callable[[], Any]
    root: Path = field(default_factory=default_data_root)
    dependencies: Dependencies = field(default_factory=Dependencies)

    @cached_property
    def kind(self) -> type[Dataset]:
        """The class."""
        kind: type[Dataset] = self.load()
        return kind

    @cached_property
    def splits(self) -> Splits:
        """What it loads; `NotAsked` where the files are not here."""
        try:
            return self.kind().load(self.root)
        except DataMissingError as error:
            raise NotAsked("its files are not here") from error

    def named_splits(self) -> Iterator[tuple[str, int, Split | StreamedSplit]]:
        """Name, declared size and content of both splits."""
        train, test = self.kind.sizes
        yield "train", train, self.splits.train
        yield "test", test, self.splits.test


def contract(subject: DatasetSubject) -> None:
    """Is a subclass of Dataset that can be made without arguments."""
    if not (isinstance(subject.kind, type) and issubclass(subject.kind, Dataset)):
        raise Broken(f"{named(subject.kind)} is no subclass of synflow_bench.Dataset; make it one")
    subject.kind()


def declared(subject: DatasetSubject) -> None:
    """Declares shape, classes, sizes, mean, deviation and augmentation, each plausible."""
    dataset = subject.kind()
    for name in DECLARED:
        if not hasattr(dataset, name):
            raise Broken(f"{name} is not declared")
    for name, fits in _PLAUSIBLE.items():
        if not fits(dataset):
            raise Broken(f"{name} is {getattr(dataset, name)!r}; {_MEANT[name]}")


def off_disk(subject: DatasetSubject) -> None:
    """Is made and declares everything without opening a file or listing a folder."""
    with _watched_disk() as touched:
        dataset = subject.kind()
        for name in DECLARED:
            getattr(dataset, name)
    if touched:
        raise Broken(f"it reads {touched[0]}; declare constants, and read files in load()")


def absent(subject: DatasetSubject) -> None:
    """Says so where its files are not: present() is False, and load() raises DataMissingError."""
    with TemporaryDirectory() as empty:
        here = subject.kind().present(Path(empty))
        if type(here) is not bool:
            raise Broken(f"present() gives {here!r}; give True or False")
        if os.listdir(empty):  # noqa: PTH208  names are enough
            raise Broken("present() writes into the data folder; look at names and no more")
        if here:
            raise NotAsked("it needs no files of the data folder")
        try:
            subject.kind().load(Path(empty))
        except DataMissingError:
            return
        except Exception as error:
            told = " ".join(f"{type(error).__name__}: {error}".split())
            raise Broken(f"load() in an empty folder raises {told}; raise a DataMissingError") from error
    raise Broken("load() works in an empty folder, where present() is False")


def loads(subject: DatasetSubject) -> None:
    """Loads a Splits where present() says that its files are there."""
    present = subject.kind().present(subject.root)
    try:
        splits = subject.splits
    except NotAsked as reason:
        if present:
            raise Broken(f"present() is True, and load() says: {reason.__cause__}") from reason
        raise NotAsked(str(reason.__cause__)) from reason
    if not isinstance(splits, Splits):
        raise Broken(f"load() gives a {type(splits).__name__}; give Splits(train, test)")


def images(subject: DatasetSubject) -> None:
    """Loads uint8 images (N, *input_shape) on the CPU; of streamed ones a few are read."""
    for name, _, split in subject.named_splits():
        sample = _sample(split)
        found = (sample.dtype, tuple(sample.shape[1:]), sample.device.type)
        expected = (torch.uint8, tuple(subject.kind.input_shape), "cpu")
        if found != expected:
            raise Broken(f"{name} images are {_told(found)}; it declares {_told(expected)}")


def sizes(subject: DatasetSubject) -> None:
    """Loads as many examples as it declares, with one label each."""
    for name, size, split in subject.named_splits():
        count = len(split.images if isinstance(split, Split) else split.items)
        if (count, len(split.labels)) != (size, size):
            found = f"{count} images and {len(split.labels)} labels"
            raise Broken(f"{name} has {found}; sizes declares {size}")


def labels(subject: DatasetSubject) -> None:
    """Loads int64 labels (N,) from 0 to num_classes - 1, each of them in the training set."""
    for name, _, split in subject.named_splits():
        if split.labels.dtype is not torch.int64 or split.labels.dim() != 1:
            raise Broken(f"{name} labels are {split.labels.dtype} of {split.labels.dim()} dimensions")
        low, high = int(split.labels.min()), int(split.labels.max())
        if low < 0 or high >= subject.kind.num_classes:
            raise Broken(f"{name} labels go from {low} to {high} with {subject.kind.num_classes} classes")
    counts = torch.bincount(subject.splits.train.labels, minlength=subject.kind.num_classes)
    for label, count in enumerate(counts.tolist()):
        if not count:
            raise Broken(f"class {label} has no training example")


def statistics(subject: DatasetSubject) -> str:
    """Declares the mean and deviation of its training images, scaled to [0, 1], to within 0.01."""
    train = subject.splits.train
    if not isinstance(train, Split):
        raise NotAsked("its images are streamed: reading all of them would take too long")
    mean, std = measured(train.images)
    for name, found in (("mean", mean), ("std", std)):
        stated = getattr(subject.kind, name)
        if any(abs(a - b) > TOLERANCE for a, b in zip(stated, found, strict=True)):
            raise Broken(f"{name} is declared as {_digits(stated)} and measured as {_digits(found)}")
    return f"measured {_digits(mean)} and {_digits(std)}"


def repeatable(subject: DatasetSubject) -> None:
    """Loads the same again."""
    again = subject.kind().load(subject.root) if subject.splits else None
    for name in ("train", "test"):
        first, second = getattr(subject.splits, name), getattr(again, name)
        same = torch.equal(_sample(first), _sample(second)) and torch.equal(first.labels, second.labels)
        if not same:
            raise Broken(f"the {name} split differs between two loads")


DATASET_RULES: tuple[Rule[DatasetSubject], ...] = (
    gate(contract),
    gate(declared),
    rule(off_disk),
    rule(absent),
    gate(loads),
    gate(images),
    gate(sizes),
    rule(labels),
    rule(statistics),
    rule(repeatable),
)


def measured(images: Tensor) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel of bytes (N, C, H, W), scaled to [0, 1]: exact."""
    levels = torch.arange(256, dtype=torch.float64) / 255
    mean, std = [], []
    for channel in images.unbind(dim=1):
        share = torch.bincount(channel.reshape(-1), minlength=256).double() / channel.numel()
        mean.append(float(share @ levels))
        std.append(float((share @ (levels - mean[-1]).square()).sqrt()))
    return mean, std


def _sample(split: Split | StreamedSplit) -> Tensor:
    """All images (N, C, H, W) of a split in memory, the first few of a streamed one."""
    if isinstance(split, Split):
        return split.images
    return torch.stack([split.read(item, augmented=False) for item in split.items[:FEW]])


_PLAUSIBLE: dict[str, Callable[[Dataset], bool]] = {
    "input_shape": lambda dataset: len(dataset.input_shape) == 3 and _counts(dataset.input_shape),
    "num_classes": lambda dataset: _counts((dataset.num_classes,)) and dataset.num_classes > 1,
    "sizes": lambda dataset: len(dataset.sizes) == 2 and _counts(dataset.sizes),
    "mean": lambda dataset: _one_a_channel(dataset, dataset.mean),
    "std": lambda dataset: _one_a_channel(dataset, dataset.std) and min(dataset.std) > 0,
    "augmentation": lambda dataset: isinstance(dataset.augmentation, Augmentation | None),
    "revision": lambda dataset: _counts((dataset.revision,)),
}
_MEANT = {
    "input_shape": "give (channels, height, width)",
    "num_classes": "give a whole number from 2 on",
    "sizes": "give the numbers of training and test images",
    "mean": "give a number from 0 to 1 for each channel",
    "std": "give a number above 0 and up to 1 for each channel",
    "augmentation": "give an Augmentation or None",
    "revision": "give a whole number from 1 on",
}


def _counts(numbers: tuple[Any, ...]) -> bool:
    return all(type(number) is int and number > 0 for number in numbers)


def _one_a_channel(dataset: Dataset, numbers: tuple[float, ...]) -> bool:
    return len(numbers) == dataset.input_shape[0] and all(0 <= number <= 1 for number in numbers)


def _told(found: tuple[torch.dtype, tuple[int, ...], str]) -> str:
    dtype, shape, device = found
    return f"{dtype} of {'x'.join(map(str, shape))} on {device}"


def _digits(numbers: Any) -> str:
    return " ".join(f"{number:.4f}" for number in numbers)


@contextmanager
def _watched_disk() -> Iterator[list[str]]:
    """Collects what is opened or listed, and lets it happen."""
    touched: list[str] = []

    def watch(real: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **options: Any) -> Any:
            touched.append(str(arguments[0]) if arguments else "a folder")
            return real(*arguments, **options)

        return watched

    places = ((builtins, "open"), (io, "open"), (os, "open"), (os, "scandir"), (os, "listdir"))
    with ExitStack() as stack:
        for owner, name in places:
            stack.enter_context(patch.object(owner, name, watch(getattr(owner, name))))
        yield touched
