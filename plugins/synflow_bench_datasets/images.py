"""Image files: in one folder per class, and decoded to pixels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synflow_bench.errors import DataError
from synflow_bench.files import is_clutter

if TYPE_CHECKING:
    from PIL.Image import Image

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""The endings of image files in published datasets, as in torchvision."""
MOST_PIXELS = 2**27
"""The pixels of an image at most: 134 million, 400 MB when they are decoded."""
_SHOWN = 100
"""The most letters of a list of names in a message."""


class InvalidFileError(Exception):
    """The reason why a file or folder is unusable; it continues a sentence that starts with the name."""


@dataclass(frozen=True)
class LabeledPaths:
    """Paths of images, and the class number of each."""

    paths: list[str]
    labels: list[int]

    def __len__(self) -> int:
        return len(self.labels)


def subfolders(folder: Path) -> list[str]:
    """List the names of the folders in `folder` in alphabetical order, without hidden and system folders.

    Raises:
        InvalidFileError: It cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir() and not is_clutter(entry.name))
    except OSError as error:
        raise InvalidFileError(f"cannot be read: {error.strerror}") from error


def files_below(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield every folder below `folder` and itself with its files, in order; links are followed.

    Hidden files and folders, and those of file systems and file managers, are left out.

    Raises:
        InvalidFileError: A folder cannot be read.
    """
    failed: list[OSError] = []
    inside = (Path(os.path.realpath(folder)), Path(os.path.realpath(folder.parent)) / folder.name)
    found, seen = [], {str(parent) for place in inside for parent in place.parents}
    for place, folders, names in os.walk(folder, followlinks=True, onerror=failed.append):
        if failed:
            break
        if (real := os.path.realpath(place)) in seen:  # a link to a folder that contains the link
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not is_clutter(name)]
        found.append((place, sorted(name for name in names if not is_clutter(name))))
    if failed:
        raise InvalidFileError(f"has a folder that cannot be read: {failed[0].filename}") from failed[0]
    yield from sorted(found)


def class_folders(folder: Path, count: int) -> dict[str, int]:
    """Number the class folders of `folder` in alphabetical order.

    Raises:
        InvalidFileError: There are not exactly `count` of them.
    """
    classes = subfolders(folder)
    if not classes:
        raise InvalidFileError("has no class folders; put its images into one folder per class")
    if len(classes) != count:
        empty = "" if len(classes) < count else _without_images(folder, classes)
        raise InvalidFileError(f"has {len(classes)} class folders instead of {count}{empty}")
    return {name: number for number, name in enumerate(classes)}


def images_by_class(folder: Path, numbers: dict[str, int], count: int) -> LabeledPaths:
    """List all images in the class folders of `folder`.

    Raises:
        InvalidFileError: There are not exactly `count` images.
    """
    found = LabeledPaths([], [])
    for name in sorted(numbers):
        for place, names in files_below(folder / name):
            images = [os.path.join(place, each) for each in names if each.lower().endswith(EXTENSIONS)]  # noqa: PTH118
            found.paths.extend(images)
            found.labels.extend([numbers[name]] * len(images))
    missing = sorted(set(numbers.values()) - set(found.labels))
    if missing:
        names = [name for name, number in numbers.items() if number in missing]
        raise InvalidFileError(f"has no image for the classes {_listed(names)}")
    if len(found) != count:
        raise InvalidFileError(f"holds {len(found)} images instead of {count}")
    return found


def _without_images(folder: Path, classes: list[str]) -> str:
    """Name the class folders without images, which are too many."""
    empty = [
        name
        for name in classes
        if not any(
            file.lower().endswith(EXTENSIONS) for _, names in files_below(folder / name) for file in names
        )
    ]
    return f", of which {_listed(empty)} have no image; move them away" if empty else ""


def _listed(names: list[str]) -> str:
    text = ", ".join(names)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def open_rgb(path: Path | str) -> Image:
    """Decode the image at `path` to red, green and blue.

    Raises:
        DataError: It is not a readable image.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            _check_size(image, str(path))
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is damaged: it cannot be read as an image; copy it again") from error


GRAY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N")
"""The modes of Pillow without color; after the first four those of 16 bits, or of 32 in the case of `I`."""
_WITH_16_BITS = ("PNG", "PPM")
"""The formats whose images of mode `I` have 16 bits."""


@dataclass(frozen=True)
class ImageFacts:
    """The size (width, height) of an image as it is shown, and whether it is gray."""

    size: tuple[int, int]
    gray: bool


def image_facts(content: bytes, path: str) -> ImageFacts:
    """Read the header of an image of any format that Pillow reads.

    Raises:
        DataError: It is not an image.
    """
    with _opened(content, path) as image:
        width, height = image.size
        try:
            turned = image.getexif().get(_ORIENTATION, 1) in _SIDEWAYS
        except Exception as error:  # some formats are decoded for it
            raise _damaged(path, error) from error
        return ImageFacts((height, width) if turned else (width, height), image.mode in GRAY_MODES)


def decode(content: bytes, path: str, shape: tuple[int, int, int]) -> Any:
    """Decode an image of any format to a NumPy array (C, H, W) of bytes.

    The first frame is taken, turned as its camera noted. 16 bits are cut to the upper 8, transparency is
    dropped. An image of another size is cropped at its center to the proportions of (H, W), and resized.

    Raises:
        DataError: It is not a readable image.
    """
    import numpy as np
    from PIL import Image, ImageOps

    channels, height, width = shape
    with _opened(content, path) as image:
        try:
            image.load()
            turned = ImageOps.exif_transpose(image) or image
            if turned.mode == "F" or (turned.mode == "I" and image.format not in _WITH_16_BITS):
                turned = _without_range(path)
            if turned.mode in GRAY_MODES[4:]:
                wide = np.asarray(turned).astype(np.int64)
                turned = Image.fromarray((wide.clip(0, 65535) >> 8).astype(np.uint8))
            turned = turned.convert("L" if channels == 1 else "RGB")
            if turned.size != (width, height):
                turned = ImageOps.fit(turned, (width, height), Image.Resampling.BILINEAR)
        except DataError:
            raise
        except Exception as error:  # decoders raise what they like
            raise _damaged(path, error) from error
    pixels = np.asarray(turned)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


_ORIENTATION = 0x0112
_SIDEWAYS = (5, 6, 7, 8)


def _opened(content: bytes, path: str) -> Image:
    import warnings

    from PIL import Image as PillowImage

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about large images and odd headers, which are no errors
            image: Image = PillowImage.open(BytesIO(content))
    except Exception as error:
        raise _damaged(path, error) from error
    _check_size(image, path)
    return image


def _check_size(image: Image, path: str) -> None:
    """Refuse an image that would fill the memory: a small file can say that it has any number of pixels."""
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise DataError(
            f"{path} has {width}x{height} pixels, the most are {MOST_PIXELS}; resize it, or move it away"
        )


def _without_range(path: str) -> Image:
    raise DataError(f"{path} has pixels of 32 bits, whose range is unknown; convert it to 8 or 16 bits")


def _damaged(path: str, error: Exception) -> DataError:
    reason = "" if "BytesIO" in str(error) else f" ({error})"
    return DataError(f"{path} cannot be read as an image{reason}; repair it, or move it out of the folder")
