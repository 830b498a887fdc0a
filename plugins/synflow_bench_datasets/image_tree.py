"""The images of a folder: listed by part, class and name, divided for training and testing, and hashed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any
from unicodedata import normalize

from synflow_bench.errors import DataError
from synflow_bench.suites import canonical
from synflow_bench_datasets.images import InvalidFileError, files_below, subfolders

TRAIN = ("train", "training")
TEST = ("test", "testing", "val", "valid", "validation")
"""Names of the folder for testing; the first that is there is taken."""


@dataclass(frozen=True)
class ImageFile:
    """An image.

    Attributes:
        part: `train` or `test`; empty if the folder is not divided.
        label: The name of its class folder.
        name: The class and the name in it, which do not depend on the file system.
        path: Its path.
        size: The bytes of the file.
        changed: The time of its last change, in nanoseconds.
    """

    part: str
    label: str
    name: str
    path: str
    size: int
    changed: int


def list_images(folder: Path) -> list[ImageFile]:
    """List the images of a folder by part, class and name.

    Raises:
        DataError: It has no class folders, or training and testing have different ones.
    """
    try:
        return _listed(folder)
    except InvalidFileError as error:
        raise DataError(f"{folder} {error}") from error


def unused_folders(folder: Path, files: Iterable[ImageFile]) -> list[str]:
    """List the folders beside those for training and testing, such as a third one for validation."""
    used = {Path(each.path).relative_to(folder).parts[0] for each in files}
    return [name for name in subfolders(folder) if name not in used]


def _listed(folder: Path) -> list[ImageFile]:
    names = {name.lower(): name for name in reversed(subfolders(folder))}
    train = next((names[name] for name in TRAIN if name in names), None)
    test = next((names[name] for name in TEST if name in names), None)
    if train and test and subfolders(folder / train):
        parts = {"train": _classes_of(folder / train, "train"), "test": _classes_of(folder / test, "test")}
        known, tested = ({each.label for each in found} for found in parts.values())
        if odd := known ^ tested:
            has, lacks = (train, test) if min(odd) in known else (test, train)
            raise InvalidFileError(f"has class {min(odd)!r} in {has!r} and not in {lacks!r}; make them agree")
        files = [*parts["train"], *parts["test"]]
    elif train and subfolders(folder / train):
        raise InvalidFileError(
            f"has a folder {train!r} and none for testing; add 'test' or 'val', or name the folder {train!r}"
        )
    else:
        files = _classes_of(folder, "")
    files.sort(key=lambda each: (each.part != "train", each.name))
    if len({each.label for each in files}) < 2:
        raise InvalidFileError(f"has one class folder, {files[0].label!r}; it needs two or more")
    return files


def _classes_of(folder: Path, part: str) -> list[ImageFile]:
    classes = subfolders(folder)
    if not classes:
        raise InvalidFileError(
            f"has no class folders in {folder.name!r}; put images into one folder per class"
        )
    found = []
    for name in classes:
        images = list(_images_of(folder, name, part))
        if not images:
            raise InvalidFileError(f"has no image in its class folder {str(folder / name)!r}; move it away")
        found += images
    return found


def _images_of(folder: Path, label: str, part: str) -> Iterator[ImageFile]:
    for place, names in files_below(folder / label):
        inside = place.removeprefix(str(folder)).replace(os.sep, "/").lstrip("/")
        for name in names:
            path = os.path.join(place, name)  # noqa: PTH118  a Path for each takes longer than the listing
            try:
                status = os.stat(path)  # noqa: PTH116  as above
            except OSError as error:
                raise InvalidFileError(
                    f"has a file that cannot be read: {path} ({error.strerror})"
                ) from error
            plain = normalize("NFC", f"{inside}/{name}")
            yield ImageFile(part, label, plain, path, status.st_size, status.st_mtime_ns)


def divide(files: list[ImageFile], share: float, seed: int) -> tuple[list[ImageFile], list[ImageFile]]:
    """Divide images into those for training and those for testing.

    Where the folder does not say it, `share` of each class is for testing: those whose hashes of seed, class
    and name come first.

    Raises:
        DataError: A class has a single image.
    """
    if files[0].part:
        return [f for f in files if f.part == "train"], [f for f in files if f.part == "test"]
    classes: dict[str, list[ImageFile]] = {}
    for each in files:
        classes.setdefault(each.label, []).append(each)
    testing: set[str] = set()
    for label, images in classes.items():
        if len(images) < 2:
            raise DataError(f"class {label!r} has one image; training and testing need one each")
        drawn = sorted(images, key=lambda image: _draw(seed, image.name))
        testing |= {image.path for image in drawn[: min(len(images) - 1, max(1, round(share * len(images))))]}
    return [f for f in files if f.path not in testing], [f for f in files if f.path in testing]


def _draw(seed: int, name: str) -> bytes:
    """Return the hash of a seed and a name, which may have bytes that are not UTF-8."""
    return blake2b(f"{seed}/{name}".encode(errors="surrogatepass")).digest()


def listing_of(files: Iterable[ImageFile]) -> str:
    """Return a digest of names, sizes and times, for which no file is read."""
    return digest([[each.part, each.name, each.size, each.changed] for each in files])


def fingerprint_of(files: Iterable[ImageFile], contents: Iterable[str]) -> str:
    """Return 16 hex digits of the hash of names, sizes and contents."""
    pairs = zip(files, contents, strict=True)
    return digest(sorted([each.part, each.name, each.size, content] for each, content in pairs))


def digest(value: Any) -> str:
    """Return 16 hex digits of the hash of a JSON value."""
    return sha256(canonical(value).encode()).hexdigest()[:16]
