"""Image files: in one folder per class, and decoded to red, green and blue."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from synflow_bench.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image


class InvalidFileError(Exception):
    """The reason why a file or folder is unusable; it continues a sentence that starts with the name."""


@dataclass(frozen=True)
class LabeledPaths:
    """Paths of images, and the class number of each."""

    paths: list[str]
    labels: list[int]

    def __len__(self) -> int:
        return len(self.labels)


def class_folders(folder: Path, count: int) -> dict[str, int]:
    """Number the class folders of `folder` in alphabetical order.

    Raises:
        InvalidFileError: There are not exactly `count` of them.
    """
    from torchvision.datasets.folder import find_classes

    try:
        classes, _ = find_classes(folder)
    except FileNotFoundError:
        raise InvalidFileError("has no class folders; put its images into one folder per class") from None
    if len(classes) != count:
        raise InvalidFileError(f"has {len(classes)} class folders instead of {count}")
    return {name: number for number, name in enumerate(classes)}


def images_by_class(folder: Path, numbers: dict[str, int], count: int) -> LabeledPaths:
    """List all images in the class folders of `folder`.

    Raises:
        InvalidFileError: There are not exactly `count` images.
    """
    from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset

    try:
        found = make_dataset(folder, numbers, extensions=IMG_EXTENSIONS)
    except FileNotFoundError as error:
        raise InvalidFileError(_first_sentence(error)) from error
    if len(found) != count:
        raise InvalidFileError(f"holds {len(found)} images instead of {count}")
    return LabeledPaths([path for path, _ in found], [label for _, label in found])


def open_rgb(path: Path | str) -> Image:
    """Decode the image at `path` to red, green and blue.

    Raises:
        DataError: It is not a readable image.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path} is damaged: it cannot be read as an image; copy it again") from error


def _first_sentence(error: FileNotFoundError) -> str:
    text = " ".join(str(error).split()).partition(". ")[0]
    text = text.replace("Found no valid file", "has no image")
    return text if len(text) <= 100 else f"{text[:100]}..."
