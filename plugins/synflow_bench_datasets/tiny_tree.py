"""The tree of Tiny ImageNet: train/CLASS/images/, and validation images in one folder or in class folders."""

from __future__ import annotations

from pathlib import Path

from synflow_bench_datasets.archive import unpack
from synflow_bench_datasets.folders import Labelled, LayoutError, class_folders, images_by_class

ANNOTATIONS = "val_annotations.txt"
UNLABELLED = "test"


def unpack_tree(archive: Path, folder: Path) -> None:
    """Unpack the archive into `folder`, without its unlabelled images, and sort those for validation.

    Raises `ArchiveError` for an archive that climbs out of `folder`, and `LayoutError` where its
    validation images are not those that it lists.
    """
    unpack(archive, folder, wanted=lambda name: Path(name).parts[1:2] != (UNLABELLED,))
    sort_validation(folder / archive.stem / "val")


def sort_validation(folder: Path) -> None:
    """Move every image of `folder`/images into the folder of the class that the annotations give it."""
    for name, label in _annotations(folder).items():
        (folder / label).mkdir(exist_ok=True)
        (folder / "images" / name).replace(folder / label / name)
    (folder / "images").rmdir()


def list_tree(tree: Path, classes: int, sizes: tuple[int, int]) -> tuple[Labelled, Labelled]:
    """The images for training and those for testing; changes nothing on disk.

    Raises `LayoutError` where folders or images are missing.
    """
    train, val = tree / "train", tree / "val"
    for folder in (train, val):
        if not folder.is_dir():
            raise LayoutError(f"has no folder {folder.name!r}")
    numbers = class_folders(train, classes)
    testing = (
        _unsorted(val, numbers) if (val / "images").is_dir() else images_by_class(val, numbers, sizes[1])
    )
    if len(testing) != sizes[1]:
        raise LayoutError(f"lists {len(testing)} validation images instead of {sizes[1]}")
    return images_by_class(train, numbers, sizes[0]), testing


def _unsorted(val: Path, numbers: dict[str, int]) -> Labelled:
    labels = _annotations(val)
    if strange := set(labels.values()) - numbers.keys():
        raise LayoutError(f"gives a validation image class {min(strange)!r}, which is not in train")
    names = sorted(labels)
    return Labelled([str(val / "images" / name) for name in names], [numbers[labels[name]] for name in names])


def _annotations(val: Path) -> dict[str, str]:
    """File name -> class, for exactly the images that are there."""
    try:
        lines = (val / ANNOTATIONS).read_text(encoding="utf-8").splitlines()
        labels = dict(line.split("\t")[:2] for line in lines if line)
        there = {path.name for path in (val / "images").iterdir()}
    except (OSError, ValueError) as error:
        raise LayoutError(
            f"has no val/{ANNOTATIONS} with a file and a class a line, or no val/images"
        ) from error
    if odd := labels.keys() ^ there:
        fault = "not there" if min(odd) in labels else f"not in {ANNOTATIONS}"
        raise LayoutError(f"is not whole: validation image {min(odd)!r} is {fault}")
    if unsafe := {label for label in labels.values() if not label.isalnum()}:
        raise LayoutError(f"has a class {min(unsafe)!r} in {ANNOTATIONS}")
    return labels
