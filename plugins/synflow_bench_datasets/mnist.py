"""MNIST, and Fashion-MNIST in the same file format."""

from __future__ import annotations

import gzip
import struct
import zlib
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from synflow_bench import Split, Splits
from synflow_bench_datasets.downloaded import TorchvisionDataset
from synflow_bench_datasets.images import InvalidFileError

if TYPE_CHECKING:
    from torch import Tensor

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
UNSIGNED_BYTE = 8
"""Code of the element type in the header of an idx file."""
CHUNK = 1 << 20
"""Bytes per read."""
LARGEST = 1 << 26
"""Bytes of an unpacked file at most; a small gzip file can hold any number of them."""


class Mnist(TorchvisionDataset):
    """70,000 scans of handwritten digits.

    LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document Recognition", 1998.
    """

    name = "mnist"
    source = "MNIST"
    files = tuple(f"MNIST/raw/{file}" for file in FILES)
    published = f"{', '.join(FILES)}, each plain or .gz, in a folder MNIST/raw or not"
    elsewhere: ClassVar[Path | None] = None
    """Another folder that may hold the files, outside the data folder; it is searched last."""
    checksums: ClassVar[tuple[str, ...]] = (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    )
    """The sha256 of each of `FILES`, unpacked."""

    input_shape = (1, 28, 28)
    num_classes = 10
    sizes = (60_000, 10_000)
    mean: ClassVar[tuple[float, ...]] = (0.1307,)
    std: ClassVar[tuple[float, ...]] = (0.3081,)

    def present(self, root: Path) -> bool:
        """Return True if one folder has every file, gzipped or not."""
        return self._find(root) is not None

    def read(self, root: Path) -> Splits:
        """Read both splits from the first folder that has every file."""
        paths = self._find(root)
        if paths is None:
            raise self.missing(root)
        pairs = zip(paths[::2], paths[1::2], self.sizes, strict=True)
        train, test = (self._split(images, labels, size, root) for images, labels, size in pairs)
        return Splits(train, test)

    def _find(self, root: Path) -> list[Path] | None:
        for folder in self._folders(root):
            if folder is not None:
                paths = [_plain_or_gzipped(folder / file) for file in FILES]
                if all(path.is_file() for path in paths):
                    return paths
        return None

    def _folders(self, root: Path) -> list[Path | None]:
        """List the folders that may have the files; those of another dataset have the same names."""
        home, raw = root / self.name, Path(self.source, "raw")
        return [home / raw, root / raw, home, home / "raw", self.elsewhere]

    def place(self, root: Path) -> str:
        """Say where published files are found."""
        return f"{root / self.name}: {self.published}"

    def _split(self, images_path: Path, labels_path: Path, size: int, root: Path) -> Split:
        images = self._array(images_path, (size, *self.input_shape[1:]), root)
        labels = self._array(labels_path, (size,), root)
        if int(labels.max()) >= self.num_classes:
            raise self.damaged(
                labels_path, f"has label {int(labels.max())} of {self.num_classes} classes", root
            )
        return Split(images[:, None], labels.long())

    def _array(self, path: Path, shape: tuple[int, ...], root: Path) -> Tensor:
        published = dict(zip(FILES, self.checksums, strict=False))
        try:
            content = read_content(path)
            array = read_idx(content, len(shape))
        except InvalidFileError as error:
            raise self.damaged(path, str(error), root) from error
        if array.shape != shape:
            raise self.damaged(path, f"holds {_by(array.shape)} bytes instead of {_by(shape)}", root)
        if published and sha256(content).hexdigest() != published[path.name.removesuffix(".gz")]:
            raise self.damaged(path, "is not the published file: its sha256 differs", root)
        return array


class FashionMnist(Mnist):
    """70,000 photographs of clothes.

    The files of the Debian package `dataset-fashion-mnist` are found too.

    Xiao, Rasul, Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
    Algorithms", 2017, arXiv 1708.07747.
    """

    name = "fashion-mnist"
    source = "FashionMNIST"
    files = tuple(f"FashionMNIST/raw/{file}" for file in FILES)
    published = f"{', '.join(FILES)}, each plain or .gz, in a folder FashionMNIST/raw or not"
    package = "dataset-fashion-mnist"
    elsewhere: ClassVar[Path | None] = Path("/usr/share/datasets/fashion-mnist")

    checksums = (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    )

    mean = (0.2860,)
    std = (0.3530,)


def read_idx(content: bytearray, dimensions: int) -> Tensor:
    """Return the uint8 tensor of so many dimensions that is the content of an idx file.

    An idx file holds a magic number, the sizes and the bytes.
    LeCun, Cortes, Burges, "The MNIST database of handwritten digits", 1998.

    Raises:
        InvalidFileError: The file has another magic number, or not the length in its header.
    """
    import torch

    header = 4 * (1 + dimensions)
    if content[:4] != bytes((0, 0, UNSIGNED_BYTE, dimensions)) or len(content) < header:
        raise InvalidFileError(f"is not an idx file of bytes in {dimensions} dimensions")
    sizes = struct.unpack(f">{dimensions}I", content[4:header])
    if len(content) - header != prod(sizes):
        raise InvalidFileError(f"holds {len(content) - header} bytes where its header says {prod(sizes)}")
    return torch.frombuffer(content, dtype=torch.uint8)[header:].reshape(sizes)


def read_content(path: Path) -> bytearray:
    """Read a file, gzipped if its name ends in `.gz`.

    It is read in chunks, so that packed and unpacked bytes are never both in memory.

    Raises:
        InvalidFileError: The file is unreadable, or larger than `LARGEST`.
    """
    content = bytearray()
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            while chunk := file.read(CHUNK):
                content += chunk
                if len(content) > LARGEST:
                    raise InvalidFileError(f"holds more than {LARGEST} bytes")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InvalidFileError("is not a complete gzip file") from error
    except OSError as error:
        raise InvalidFileError(f"cannot be read: {error.strerror}") from error
    return content


def _plain_or_gzipped(path: Path) -> Path:
    return path if path.is_file() else path.with_name(f"{path.name}.gz")


def _by(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))
