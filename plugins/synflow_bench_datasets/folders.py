"""Images in a folder for each class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class LayoutError(Exception):
    """What is wrong with a folder, to be read after its name."""


@dataclass(frozen=True)
class Labelled:
    """Paths of images, and the number of each one's class."""

    paths: list[str]
    labels: list[int]

    def __len__(self) -> int:
        return len(self.labels)


def class_folders(folder: Path, count: int) -> dict[str, int]:
    """The classes of `folder`, numbered in alphabetical order; `LayoutError` unless it has `count`."""
    from torchvision.datasets.folder import find_classes

    try:
        classes, _ = find_classes(folder)
    except FileNotFoundError:
        raise LayoutError("has no class folders; its images belong into a folder for each class") from None
    if len(classes) != count:
        raise LayoutError(f"has {len(classes)} class folders instead of {count}")
    return {name: number for number, name in enumerate(classes)}


def images_by_class(folder: Path, numbers: dict[str, int], count: int) -> Labelled:
    """All images below the class folders of `folder`; `LayoutError` unless there are `count`."""
    from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset

    try:
        found = make_dataset(folder, numbers, extensions=IMG_EXTENSIONS)
    except FileNotFoundError as error:
        raise LayoutError(_first_sentence(error)) from error
    if len(found) != count:
        raise LayoutError(f"holds {len(found)} images instead of {count}")
    return Labelled([path for path, _ in found], [label for _, label in found])


def _first_sentence(error: FileNotFoundError) -> str:
    text = " ".join(str(error).split()).partition(". ")[0]
    text = text.replace("Found no valid file", "has no image")
    return text if len(text) <= 100 else f"{text[:100]}..."
