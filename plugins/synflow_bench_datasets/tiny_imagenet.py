"""Tiny ImageNet: its archive, its folders, and its decoded images in one file."""

from __future__ import annotations

import stat
import zlib
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath, PureWindowsPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, ClassVar
from zipfile import BadZipFile, ZipFile, ZipInfo

from synflow_bench import Augmentation, Split, Splits
from synflow_bench.errors import DataError
from synflow_bench.files import is_clutter
from synflow_bench_datasets.decoded import read_decoded, write_decoded
from synflow_bench_datasets.downloaded import DownloadedDataset
from synflow_bench_datasets.images import (
    InvalidFileError,
    LabeledPaths,
    class_folders,
    images_by_class,
    open_rgb,
)

if TYPE_CHECKING:
    from torch import Tensor

TREE = "tiny-imagenet-200"
ARCHIVE = f"{TREE}.zip"
ANNOTATIONS = "val_annotations.txt"
UNLABELED = "test"
THREADS = 8
"""Threads that decode images; Pillow releases the interpreter's lock."""


class TinyImagenet(DownloadedDataset):
    """110,000 photographs of 200 kinds of things.

    The labeled validation images are for testing. The archive is unpacked without its unlabeled test images,
    and its validation images are sorted into class folders. An unpacked tree in `<root>/tiny-imagenet`,
    sorted or not, or the archive itself there, is used instead of a download. Decoded images are kept beside
    it in one file.

    Le & Yang, "Tiny ImageNet Visual Recognition Challenge", 2015, Stanford CS 231N.
    """

    name = "tiny-imagenet"
    files = (TREE,)
    published = f"the folder {TREE}, or {ARCHIVE}"
    address: ClassVar[str] = f"http://cs231n.stanford.edu/{ARCHIVE}"
    md5: ClassVar[str] = "90528d7ca1a48142e341f4ef8d21d0de"

    input_shape = (3, 64, 64)
    num_classes: ClassVar[int] = 200
    sizes: ClassVar[tuple[int, int]] = (100_000, 10_000)
    mean = (0.480, 0.448, 0.397)
    std = (0.276, 0.269, 0.282)
    augmentation = Augmentation(crop_padding=4, flip=True)

    def present(self, root: Path) -> bool:
        """Return True if the decoded images, the unpacked tree or the archive exists."""
        return self._decoded(root).exists() or any(self._find(name, root) for name in (TREE, ARCHIVE))

    def read(self, root: Path) -> Splits:
        """Read the decoded images, or unpack, decode and keep them."""
        decoded = self._decoded(root)
        if decoded.exists():
            try:
                return read_decoded(decoded, self.sizes, self.input_shape)
            except InvalidFileError as error:
                raise self.damaged(decoded, str(error), root) from error
        train, test = self._decode(root)
        write_decoded(decoded, ((part.images.numpy(), part.labels.numpy()) for part in (train, test)))
        return Splits(train, test)

    def fetch_into(self, folder: Path) -> None:
        """Download the archive and unpack it."""
        from torchvision.datasets.utils import download_url

        download_url(self.address, folder, ARCHIVE, self.md5)
        try:
            _unpack_tree(folder / ARCHIVE, folder)
        except InvalidFileError as error:
            raise RuntimeError(f"the archive is refused: {error}") from error

    def _decoded(self, root: Path) -> Path:
        return root / self.name / f"images-{self.revision}.safetensors"

    def _find(self, name: str, root: Path) -> Path | None:
        return next((place / name for place in self.places(root) if (place / name).exists()), None)

    def _decode(self, root: Path) -> tuple[Split, Split]:
        import torch

        tree = self._find(TREE, root)
        if tree is None:
            archive = self._find(ARCHIVE, root) or root / self.name / ARCHIVE
            self._unpack(archive, root)
            tree = archive.with_name(TREE)
        try:
            found = _list_tree(tree, self.num_classes, self.sizes)
        except InvalidFileError as error:
            raise self.damaged(tree, str(error), root) from error
        train, test = (
            Split(_decode_images(part.paths, self.input_shape), torch.tensor(part.labels)) for part in found
        )
        return train, test

    def _unpack(self, archive: Path, root: Path) -> None:
        """Unpack an existing archive; an interruption leaves nothing behind."""
        from torchvision.datasets.utils import check_integrity

        if not check_integrity(archive, self.md5):
            raise self.damaged(archive, "is not the published file, or not all of it", root)
        try:
            with TemporaryDirectory(dir=archive.parent, prefix=".unpacking-") as folder:
                _unpack_tree(archive, Path(folder))
                Path(folder, TREE).replace(archive.with_name(TREE))
        except InvalidFileError as error:
            raise self.damaged(archive, f"is refused: {error}", root) from error
        except OSError as error:
            raise DataError(f"could not unpack {archive}: {error.strerror}; free space for it") from error


def _unpack_tree(archive: Path, folder: Path) -> None:
    """Unpack all but unlabeled images into `folder`, and sort validation images into class folders.

    Every member is checked before anything is written. Raises `InvalidFileError` for an archive that is
    incomplete or would write outside `folder`, and for validation images that do not match the annotations.
    """
    try:
        with ZipFile(archive) as packed:
            members = packed.infolist()
            for member in members:
                _check_member(member)
            labeled = [each for each in members if Path(each.filename).parts[1:2] != (UNLABELED,)]
            packed.extractall(folder, labeled)
    except (BadZipFile, zlib.error, EOFError) as error:
        raise InvalidFileError("it is not a complete zip file") from error
    val = folder / archive.stem / "val"
    for name, label in _annotations(val).items():
        (val / label).mkdir(exist_ok=True)
        (val / "images" / name).replace(val / label / name)
    (val / "images").rmdir()


def _check_member(member: ZipInfo) -> None:
    name = member.orig_filename
    for path in (PurePosixPath(name), PureWindowsPath(name)):
        if path.anchor or ".." in path.parts:
            raise InvalidFileError(f"its member {name!r} is outside the folder")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise InvalidFileError(f"its member {name!r} is a link")


def _list_tree(tree: Path, classes: int, sizes: tuple[int, int]) -> tuple[LabeledPaths, LabeledPaths]:
    """List the images for training and those for testing, without changing the disk."""
    train, val = tree / "train", tree / "val"
    for folder in (train, val):
        if not folder.is_dir():
            raise InvalidFileError(f"has no folder {folder.name!r}")
    numbers = class_folders(train, classes)
    is_sorted = not (val / "images").is_dir()
    testing = images_by_class(val, numbers, sizes[1]) if is_sorted else _list_unsorted(val, numbers)
    if len(testing) != sizes[1]:
        raise InvalidFileError(f"lists {len(testing)} validation images instead of {sizes[1]}")
    return images_by_class(train, numbers, sizes[0]), testing


def _list_unsorted(val: Path, numbers: dict[str, int]) -> LabeledPaths:
    labels = _annotations(val)
    if unknown := set(labels.values()) - numbers.keys():
        raise InvalidFileError(f"gives a validation image class {min(unknown)!r}, which is not in train")
    names = sorted(labels)
    paths = [str(val / "images" / name) for name in names]
    return LabeledPaths(paths, [numbers[labels[name]] for name in names])


def _annotations(val: Path) -> dict[str, str]:
    """Read the class of each validation image, by file name; the names must be those of the images."""
    try:
        lines = (val / ANNOTATIONS).read_text(encoding="utf-8").splitlines()
        labels = dict(line.split("\t")[:2] for line in lines if line)
        images = {path.name for path in (val / "images").iterdir() if not is_clutter(path.name)}
    except (OSError, ValueError) as error:
        raise InvalidFileError(
            f"has no val/{ANNOTATIONS} with a file and a class per line, or no val/images"
        ) from error
    if unmatched := labels.keys() ^ images:
        reason = "missing" if min(unmatched) in labels else f"not in {ANNOTATIONS}"
        raise InvalidFileError(f"is incomplete: validation image {min(unmatched)!r} is {reason}")
    if unsafe := {label for label in labels.values() if not label.isalnum()}:
        raise InvalidFileError(f"has a class {min(unsafe)!r} in {ANNOTATIONS}")
    return labels


def _decode_images(paths: Sequence[str], shape: tuple[int, int, int]) -> Tensor:
    """Decode images to (N, *shape) uint8; raises `DataError` for one that is damaged or of another size."""
    import numpy as np
    import torch

    images = torch.empty(len(paths), *shape, dtype=torch.uint8)

    def read(index: int) -> None:
        pixels = np.asarray(open_rgb(paths[index]))
        if pixels.shape != (*shape[1:], shape[0]):
            height, width = pixels.shape[:2]
            raise DataError(
                f"{paths[index]} is damaged: it is {width}x{height} instead of {shape[2]}x{shape[1]}"
            )
        images[index] = torch.from_numpy(pixels.copy()).permute(2, 0, 1)

    with ThreadPoolExecutor(THREADS) as pool:
        deque(pool.map(read, range(len(paths))), maxlen=0)
    return images
