"""The contract of a dataset, the folder of all datasets, and the command that fetches them.

Imports no torch: what a dataset declares can be read without touching the disk.
"""

from __future__ import annotations

import os
import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from hashlib import sha256
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, get_type_hints

import platformdirs

from synflow_bench.errors import DataError, PluginError, UnknownNameError, UsageError, one_line

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
    """Examples that are all in memory, on the CPU: `images` (N, C, H, W) uint8 and `labels` (N,) int64.

    In a dataset of sequences, `images` holds tokens (N, length) int64.
    """

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

    A subclass that is a frozen dataclass takes its fields as options: `name[key=value]`. Each is a bool, int,
    float or str with a default. Such a dataset may set the attributes below in `resolve`, not before.

    The examples may be sequences of tokens instead, in memory. Then `input_shape` is (length,), tokens and
    labels are from 0 to num_classes - 1, the label is the token that follows the sequence, and there is no
    mean, deviation or augmentation.

    Attributes:
        revision: Part of every cell's key; raise it when the result of `load` changes.
        input_shape: The shape (C, H, W) of one image, or (length,) of one sequence.
        num_classes: The number of classes.
        sizes: The numbers of training and test images.
        mean: The mean of the training images scaled to [0, 1], one number per channel.
        std: The standard deviation of the same, one number per channel.
        augmentation: The random changes for training, or None.
    """

    revision: ClassVar[int] = 1
    input_shape: ClassVar[tuple[int, ...]]
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

    def resolve(self, root: Path) -> Dataset:  # noqa: ARG002  for those that override it
        """Return the dataset with the options that a key contains: what its files are, not where they are.

        Called once at the start of a run, and again, on the result, in every process that runs cells.

        Args:
            root: The data folder, which may keep what has been measured.

        Raises:
            UsageError: An option is missing, or cannot be used with these files.
            DataError: Files are missing or damaged.
        """
        return self

    def known(self, root: Path) -> Iterable[Dataset]:  # noqa: ARG002  for those that override it
        """Return the datasets with options that the data folder knows, such as folders that were measured."""
        return ()

    def place(self, root: Path) -> str | None:  # noqa: ARG002  for those that override it
        """Say where below `root` files that somebody has already are found; None if none are needed."""
        return None

    def by_hand(self, root: Path) -> str | None:  # noqa: ARG002  for those that override it
        """Say how to get the files below `root` if they cannot be downloaded; None if they can."""
        return None


_PART = 2**14
"""Examples that are hashed at once."""


def data_digest(splits: Splits) -> str:
    """Return the sha256 of the examples of a dataset, in hex; of a streamed one, of its items and labels."""
    digest = sha256()
    for split in (splits.train, splits.test):
        if isinstance(split, StreamedSplit):
            items = (PurePath(item).name for item in split.items)
            digest.update("\n".join(items).encode("utf-8", "surrogateescape"))
        else:
            digest.update(repr(tuple(split.images.shape)).encode())
            for start in range(0, len(split), _PART):  # windows of a text overlap in memory
                digest.update(split.images[start : start + _PART].contiguous().numpy().data)
        digest.update(split.labels.contiguous().numpy().data)
    return digest.hexdigest()


LABEL = "name"
"""The option of every dataset with options that gives it a name on boards; it is part of the key."""


def make_dataset(kind: Any, options: Mapping[str, str], title: str) -> Dataset:
    """Make a dataset with options.

    Args:
        kind: The class.
        options: Values as text, by name; text that is not quoted may stand for any type.
        title: The dataset in messages, with its distribution.

    Raises:
        PluginError: `kind` is no `Dataset`, or cannot be made.
        UnknownNameError: There is no such option.
        UsageError: A value has the wrong type, or the dataset rejects it.
    """
    kind = check_dataset_class(kind, title)
    known: list[str] = [field.name for field in fields(kind)] if is_dataclass(kind) else []
    for name in options:
        if not known:
            raise UsageError(f"{title} takes no options; leave out {name!r}")
        if name not in known:
            raise UnknownNameError(f"option of {title}:", name, [*known, LABEL])
    try:
        hints = get_type_hints(kind) if options else {}
        make: Callable[..., Dataset] = kind
        return make(
            **{name: _option(f"{title}: {name}", text, hints[name]) for name, text in options.items()}
        )
    except (UsageError, DataError):
        raise
    except ValueError as error:
        raise UsageError(f"{title}: {one_line(error, with_type=False)}") from error
    except Exception as error:
        raise PluginError(f"{title} cannot be made: {one_line(error)}") from error


def check_dataset_class(kind: Any, title: str) -> type[Dataset]:
    """Return what is registered as a dataset if it is a subclass of `Dataset`.

    Raises:
        PluginError: It is something else.
    """
    if not (isinstance(kind, type) and issubclass(kind, Dataset)):
        raise PluginError(f"{title} is no synflow_bench.Dataset; make its class a subclass")
    return kind


def _option(what: str, text: str, hint: Any) -> bool | int | float | str:
    """Read the value of an option as the type of its field; an integer may stand for a float."""
    from synflow_bench.suites import read_text, read_toml_value

    value = read_text(text) if hint is str else read_toml_value(text)
    if hint is float and type(value) is int:
        value = float(value)
    if type(value) is not hint:
        raise UsageError(f"{what}={text} must be a value of type {getattr(hint, '__name__', hint)}")
    result: bool | int | float | str = value
    return result


def options_of(dataset: Dataset) -> dict[str, Any]:
    """Return the options of a dataset that differ from their defaults."""
    if not is_dataclass(dataset):
        return {}
    values = {field.name: (getattr(dataset, field.name), field.default) for field in fields(dataset)}
    return {name: value for name, (value, default) in values.items() if value != default}


def check_declared(dataset: Dataset) -> None:
    """Check that a dataset declares its shape, classes, sizes and, for images, a mean and a deviation.

    Raises:
        InvalidDatasetError: It does not; the message names the attribute.
    """
    for name, length in (("input_shape", None), ("sizes", 2)):
        value = getattr(dataset, name, None)
        if not isinstance(value, tuple | list) or not value or (length and len(value) != length):
            raise InvalidDatasetError(
                f"it declares {name} = {value!r}; give a tuple of {length or 3} numbers"
            )
        if not all(type(number) is int and number > 0 for number in value):
            raise InvalidDatasetError(f"it declares {name} = {value!r}; give whole numbers above 0")
    classes = getattr(dataset, "num_classes", None)
    if type(classes) is not int or classes < 1:
        raise InvalidDatasetError(f"it declares num_classes = {classes!r}; give a whole number above 0")
    shape = dataset.input_shape
    for name in ("mean", "std") if len(shape) > 1 else ():
        value = getattr(dataset, name, None)
        if not isinstance(value, tuple | list) or len(value) != shape[0]:
            raise InvalidDatasetError(
                f"it declares {name} = {value!r}; give {shape[0]}, one for each channel"
            )
        if name == "std" and not all(number > 0 for number in value):
            raise InvalidDatasetError(f"it declares std = {value!r}; give numbers above 0")


class InvalidDatasetError(DataError):
    """A dataset of a plugin that does not load what the contract asks for."""


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
