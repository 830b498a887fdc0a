"""Any folder of images in class folders, as a dataset: measured once, and named by what is in its files."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from hashlib import sha256
from math import prod, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from synflow_bench import Augmentation, Dataset, Split, Splits, StreamedSplit
from synflow_bench.errors import DataError, DataMissingError, UsageError
from synflow_bench.files import write_atomically
from synflow_bench_datasets.decoded import read_decoded, write_decoded
from synflow_bench_datasets.image_tree import (
    ImageFile,
    digest,
    divide,
    fingerprint_of,
    list_images,
    listing_of,
    unused_folders,
)
from synflow_bench_datasets.images import ImageFacts, InvalidFileError, decode, image_facts

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
R = TypeVar("R")

HOME = "image-folder"
"""The folder below the data folder that keeps what was measured, and decoded images."""
THREADS = 8
"""Threads that read and decode; Pillow releases the interpreter's lock."""
MANY = 5_000
"""Reading more images takes seconds, which is announced."""
EXAMPLE = "image-folder[path=DIR,size=32]"
LAYOUT = "DIR/train/CLASS/ and DIR/test/CLASS/, or DIR/CLASS/, which is split by a seed"


@dataclass(frozen=True)
class ImageFolder(Dataset):
    """Images of your own: `path` has train/CLASS/ and test/CLASS/, or only CLASS/, which is split by a seed.

    The folder for testing may be called val too. Any format that Pillow reads will do, gray or color. The
    sizes, the mean and the deviation are measured once and kept in the data folder. Records and keys contain
    a fingerprint of the names, sizes and contents of the files in place of the path. Images that would take
    more than 2 GiB of memory are read from disk during training.

    Args:
        path: The folder.
        size: The side of the square that images are cropped and resized to; 0, the default, keeps the size
            that all of them have.
        channels: 1 for gray or 3 for color; 0, the default, is gray if all images are.
        test: The share of each class that is for testing, if there are no folders for training and testing.
        split: The seed of that division.
        flip: Flip training images at random.
        crop_padding: Pixels of zeros around training images before a random crop; by default an eighth of
            the height, at most 4.
        fingerprint: 16 hex digits that the files must have; alone, it stands for a folder that was measured.
    """

    memory: ClassVar[int] = 2 * 2**30
    """The most bytes of images in memory."""

    path: str = ""
    size: int = 0
    channels: int = 0
    test: float = 0.2
    split: int = 0
    flip: bool = True
    crop_padding: int = -1
    fingerprint: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.size <= 4096:
            raise UsageError(
                f"size must be a number of pixels up to 4096, or 0 for that of the images, not {self.size}"
            )
        if self.channels not in (0, 1, 3):
            raise UsageError(f"channels must be 1 for gray or 3 for color, not {self.channels}")
        if not 0 < self.test < 1:
            raise UsageError(f"test must be a share between 0 and 1, not {self.test}")
        if self.split < 0:
            raise UsageError(f"split must be a seed from 0 on, not {self.split}")
        if self.crop_padding < -1:
            raise UsageError(f"crop_padding must be a number of pixels from 0 on, not {self.crop_padding}")

    def resolve(self, root: Path) -> ImageFolder:
        """Measure the folder at `path`, or find it again; the result has a fingerprint in place of the path.

        Raises:
            UsageError: There is no path, or an option does not fit the images.
            DataMissingError: There is no such folder.
            DataError: An image cannot be read, or the folder does not have class folders.
        """
        if not self.path and not self.fingerprint:
            raise UsageError(f"dataset 'image-folder' needs a folder: {EXAMPLE} with {LAYOUT}")
        facts = self._measured(root) if self.path else self._kept(root)
        return self if facts is None else self._with(facts)

    def _with(self, facts: Facts) -> ImageFolder:
        if self.fingerprint not in ("", facts.fingerprint):
            raise DataError(
                f"{self.path} has fingerprint {facts.fingerprint} instead of {self.fingerprint}: its files "
                "are others; leave out fingerprint to use them"
            )
        usual = min(4, facts.shape[1] // 8)
        padding = usual if self.crop_padding < 0 else self.crop_padding
        change = Augmentation(padding, self.flip)
        resolved = replace(
            self,
            path="",
            fingerprint=facts.fingerprint,
            crop_padding=-1 if padding == usual else padding,
            **facts.resolved,
        )
        declared = {
            "input_shape": tuple(facts.shape),
            "num_classes": len(facts.classes),
            "sizes": tuple(facts.sizes),
            "mean": tuple(facts.mean),
            "std": tuple(facts.std),
            "augmentation": change if change != Augmentation() else None,
            "facts": facts,
        }
        for name, value in declared.items():
            object.__setattr__(resolved, name, value)
        return resolved

    def known(self, root: Path) -> Iterator[ImageFolder]:
        """Yield what was measured, once for folders of equal files and options: one that is there, if any."""
        found: dict[ImageFolder, ImageFolder] = {}
        for entry in sorted((root / HOME).glob("*.json")):
            if facts := _read_facts(entry):
                each = ImageFolder(**facts.resolved)._with(facts)
                if each not in found or each.present(root):
                    found[each] = each
        yield from found.values()

    def place(self, root: Path) -> str | None:  # noqa: ARG002  a folder may be anywhere
        """Return the folder, if it was measured."""
        facts: Facts | None = getattr(self, "facts", None)
        return facts.path if facts else None

    def present(self, root: Path) -> bool:
        """Return True if the folder was found, as it was measured."""
        facts: Facts | None = getattr(self, "facts", None)
        return Path(facts.path).is_dir() if facts else self._kept(root) is not None

    def by_hand(self, root: Path) -> str:
        """Describe how to name a folder."""
        facts: Facts | None = getattr(self, "facts", None)
        if facts:
            return (
                f"{facts.path} is not there; name the folder once more: {EXAMPLE}, or delete {root / HOME} "
                "to forget all that was measured"
            )
        if self.fingerprint:
            return (
                f"no folder that {root / HOME} knows has its files as they were measured; name the folder "
                f"once more: {EXAMPLE}"
            )
        return f"name a folder of your own: --dataset '{EXAMPLE}' with {LAYOUT}"

    def load(self, root: Path, *, download: bool = False) -> Splits:  # noqa: ARG002  see `by_hand`
        """Read both splits, from the images that were decoded when they were measured if these are there.

        Raises:
            DataMissingError: The folder is not there, or has changed.
            DataError: An image cannot be read.
        """
        import torch

        resolved = self if hasattr(self, "facts") else self.resolve(root)
        facts: Facts | None = getattr(resolved, "facts", None)
        if facts is None:
            raise DataMissingError(f"dataset 'image-folder' is not here; {self.by_hand(root)}")
        if not facts.streamed:
            with suppress(InvalidFileError):  # then they are decoded again
                return read_decoded(facts.decoded(root), facts.sizes, facts.shape)
        parts = divide(list_images(Path(facts.path)), self.test, self.split)
        if facts.streamed:
            read = ReadImage(facts.shape, resolved.augmentation or Augmentation())
            streams = (
                StreamedSplit([each.path for each in part], torch.tensor(facts.labels(part)), read)
                for part in parts
            )
            return Splits(*streams)
        pixels = [_decode_all(part, facts.shape) for part in parts]
        labels = [_numbers(facts, part) for part in parts]
        pairs = list(zip(pixels, labels, strict=True))
        write_decoded(facts.decoded(root), pairs)
        return Splits(*(Split(torch.from_numpy(images), torch.from_numpy(given)) for images, given in pairs))

    @property
    def _given(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("size", "channels", "test", "split")}

    def _measured(self, root: Path) -> Facts:
        # Links stay as they are, and an unknown user is no error of Python.
        folder = Path(os.path.abspath(os.path.expanduser(self.path)))  # noqa: PTH100, PTH111
        if not folder.is_dir():
            found = "is no folder; unpack it, and name the folder" if folder.exists() else "is not there"
            raise DataMissingError(f"{folder} {found}; {EXAMPLE} needs {LAYOUT}")
        files = list_images(folder)
        for name in unused_folders(folder, files):
            print(
                f"image-folder: {name!r} in {folder} is not used; others are for training and testing",
                file=sys.stderr,
            )
        listed = listing_of(files)
        entry = root / HOME / f"{digest([str(folder), self._given])}.json"
        facts = _read_facts(entry)
        if facts is None or facts.listing != listed:
            facts = self._measure(folder, files, listed, root)
            write_atomically(entry, json.dumps(asdict(facts), indent=1) + "\n")
        return facts

    def _kept(self, root: Path) -> Facts | None:
        """Find a measured folder with this fingerprint and these options that has not changed."""
        for entry in sorted((root / HOME).glob("*.json")):
            facts = _read_facts(entry)
            if facts is None or facts.fingerprint != self.fingerprint:
                continue
            if {**ImageFolder()._given, **facts.resolved} != self._given:
                continue
            with suppress(DataError):
                if Path(facts.path).is_dir() and listing_of(list_images(Path(facts.path))) == facts.listing:
                    return facts
        return None

    def _measure(self, folder: Path, files: list[ImageFile], listed: str, root: Path) -> Facts:
        if len(files) > MANY:
            print(f"image-folder: reading {len(files)} images of {folder}, once", file=sys.stderr)
        has_parts = files[0].part != ""
        if has_parts and (self.test, self.split) != (ImageFolder.test, ImageFolder.split):
            raise UsageError(
                f"{folder} has a folder for testing, so test and split have no effect; leave them out"
            )
        looks = _in_threads(_look, files)
        gray = all(facts.gray for _, facts in looks)
        shape = (self.channels or (1 if gray else 3), *self._side(folder, [facts for _, facts in looks]))
        parts = divide(files, self.test, self.split)
        resolved: dict[str, Any] = {
            "size": shape[1] if shape[1] == shape[2] else 0,
            "channels": 0 if self.channels == (1 if gray else 3) else self.channels,
            **({} if has_parts else {"test": self.test, "split": self.split}),
        }
        streamed = len(files) * prod(shape) > self.memory
        decoded = None if streamed else [_decode_all(part, shape) for part in parts]
        mean, std = _moments(decoded[0] if decoded else _pixels(parts[0], shape), folder)
        facts = Facts(
            path=str(folder),
            listing=listed,
            fingerprint=fingerprint_of(files, [digest for digest, _ in looks]),
            resolved=resolved,
            classes=sorted({each.label for each in files}),
            shape=shape,
            sizes=(len(parts[0]), len(parts[1])),
            mean=mean,
            std=std,
            streamed=streamed,
        )
        if decoded:
            labels = (_numbers(facts, part) for part in parts)
            write_decoded(facts.decoded(root), zip(decoded, labels, strict=True))
        return facts

    def _side(self, folder: Path, looks: list[ImageFacts]) -> tuple[int, int]:
        """Return the height and the width of the images."""
        if self.size:
            return self.size, self.size
        sizes = sorted({facts.size for facts in looks})
        if len(sizes) > 1:
            first, last = ("x".join(map(str, size)) for size in (sizes[0], sizes[-1]))
            raise UsageError(
                f"the {len(looks)} images of {folder} have {len(sizes)} sizes, from {first} to {last}; give "
                "the side of a square, such as size=64 (0, the default, keeps one size that all have)"
            )
        width, height = sizes[0]
        return height, width


@dataclass(frozen=True)
class Facts:
    """The measurement of a folder, as it is kept.

    Attributes:
        path: The folder.
        listing: A digest of the names, sizes and times of its files: if it is the same, so are the files.
        fingerprint: A digest of the names, sizes and contents of its files.
        resolved: The options that decide what is read, without those that are the same for all folders.
        classes: The class folders, in order.
        shape: The shape (C, H, W).
        sizes: The numbers of training and test images.
        mean: The mean of the training images, per channel.
        std: Their deviation.
        streamed: True if the images are read during training.
    """

    path: str
    listing: str
    fingerprint: str
    resolved: dict[str, Any]
    classes: list[str]
    shape: tuple[int, int, int]
    sizes: tuple[int, int]
    mean: list[float]
    std: list[float]
    streamed: bool

    def decoded(self, root: Path) -> Path:
        """Return the file of the decoded images."""
        return root / HOME / f"{digest([self.fingerprint, self.resolved])}.safetensors"

    def labels(self, part: Iterable[ImageFile]) -> list[int]:
        """Return the class numbers of images."""
        numbers = {name: number for number, name in enumerate(self.classes)}
        return [numbers[each.label] for each in part]


@dataclass(frozen=True)
class ReadImage:
    """Reader of one image as `shape` uint8; for training it is cropped after padding, and flipped."""

    shape: tuple[int, int, int]
    change: Augmentation

    def __call__(self, item: str, *, augmented: bool) -> Tensor:
        """Read the image at the path `item`."""
        import torch
        from torch.nn.functional import pad

        image = torch.from_numpy(decode(_content(item), item, self.shape).copy())
        if not augmented:
            return image
        margin, (_, height, width) = self.change.crop_padding, self.shape
        if margin:
            top, left = torch.randint(2 * margin + 1, (2,)).tolist()
            image = pad(image, (margin,) * 4)[:, top : top + height, left : left + width]
        if self.change.flip and int(torch.randint(2, ())):
            image = image.flip(2)
        return image.contiguous()


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def _look(file: ImageFile) -> tuple[str, ImageFacts]:
    content = _content(file.path)
    return sha256(content).hexdigest(), image_facts(content, file.path)


def _decode(file: ImageFile, shape: tuple[int, int, int]) -> Any:
    return decode(_content(file.path), file.path, shape)


def _in_threads(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(work, items))


def _numbers(facts: Facts, part: Iterable[ImageFile]) -> Any:
    """Return the class numbers of images as a NumPy array."""
    import numpy as np

    return np.array(facts.labels(part), dtype=np.int64)


def _decode_all(part: list[ImageFile], shape: tuple[int, int, int]) -> Any:
    """Decode images to a NumPy array (N, C, H, W) of bytes."""
    import numpy as np

    pixels = np.empty((len(part), *shape), dtype=np.uint8)
    for index, image in enumerate(_pixels(part, shape)):
        pixels[index] = image
    return pixels


def _pixels(part: list[ImageFile], shape: tuple[int, int, int]) -> Iterator[Any]:
    """Yield decoded images in order, few at a time."""
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(part), 64 * THREADS):
            yield from pool.map(partial(_decode, shape=shape), part[start : start + 64 * THREADS])


def _moments(images: Iterable[Any], folder: Path) -> tuple[list[float], list[float]]:
    """Return the mean and the deviation per channel of images scaled to [0, 1], with four digits."""
    import numpy as np

    total, squares, count = 0, 0, 0
    for image in images:
        wide = image.astype(np.int64)
        total, squares = total + wide.sum((1, 2)), squares + (wide**2).sum((1, 2))
        count += image.shape[1] * image.shape[2]
    means = [int(each) / count for each in np.atleast_1d(total)]
    deviations = [
        sqrt(max(0.0, int(square) / count - mean**2))
        for square, mean in zip(np.atleast_1d(squares), means, strict=True)
    ]
    if not any(deviations):
        raise DataError(f"the training images of {folder} all have one color")
    return [round(m / 255, 4) for m in means], [max(0.0039, round(d / 255, 4)) for d in deviations]


def _read_facts(path: Path) -> Facts | None:
    """Read a kept measurement; None if there is none, or if it is not one of this version."""
    try:
        fields: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        facts = Facts(**fields)
        channels, height, width = facts.shape
        training, testing = facts.sizes
        return replace(facts, shape=(channels, height, width), sizes=(training, testing))
    except (OSError, ValueError, TypeError):
        return None
