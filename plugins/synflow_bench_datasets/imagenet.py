"""ImageNet, from a folder on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from synflow_bench import Augmentation, Dataset, Splits, StreamedSplit
from synflow_bench.errors import DataError, DataMissingError
from synflow_bench_datasets.folders import LayoutError, class_folders, images_by_class

RESIZE = 256
PARTS = ("train", "val")


class Imagenet(Dataset):
    """1.3 million photographs of a thousand kinds of things, 3x224x224, read from disk as they are needed.

    They lie in `<root>/imagenet/train/<class>/` and `<root>/imagenet/val/<class>/`; either may be a link. It
    cannot be downloaded. A subclass with other `num_classes` and `sizes` reads a part of it.

    Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", 2015, arXiv 1409.0575.
    """

    name: ClassVar[str] = "imagenet"
    input_shape = (3, 224, 224)
    num_classes: ClassVar[int] = 1000
    sizes: ClassVar[tuple[int, int]] = (1_281_167, 50_000)
    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)
    augmentation: ClassVar[Augmentation] = Augmentation(
        flip=True, resized_crop=(0.2, 1.0), grayscale=0.2, jitter=0.4
    )

    def present(self, root: Path) -> bool:
        """Whether there are folders for training and validation; their contents are not looked at."""
        return not self._missing(root)

    def by_hand(self, root: Path) -> str:
        """The layout that is expected, and which part of it is missing."""
        home = root / self.name
        missing = f"{home} has no folder {' and none '.join(map(repr, self._missing(root)))}"
        found = missing if home.is_dir() else f"{home} is not there"
        return (
            f"it cannot be downloaded, and {found}; put the photographs into {home}/train/CLASS/ and "
            f"{home}/val/CLASS/, {self.num_classes} class folders in each, or link {home} to where they are"
        )

    def load(self, root: Path, *, download: bool = False) -> Splits:  # noqa: ARG002  see `by_hand`
        """List the photographs; each is read when it is needed."""
        if not self.present(root):
            raise DataMissingError(f"data set {self.name!r} is not in {root}; {self.by_hand(root)}")
        train, val = (root / self.name / part for part in PARTS)
        classes, others = self._classes(train), self._classes(val)
        if classes != others:
            odd = min(classes.keys() ^ others.keys())
            raise self._fault(val if odd in classes else train, f"has no folder for class {odd!r}")
        return Splits(
            self._split(train, classes, self.sizes[0]),
            self._split(val, classes, self.sizes[1]),
        )

    def _classes(self, folder: Path) -> dict[str, int]:
        try:
            return class_folders(folder, self.num_classes)
        except LayoutError as fault:
            raise self._fault(folder, str(fault)) from fault

    def _split(self, folder: Path, classes: dict[str, int], size: int) -> StreamedSplit:
        import torch

        from synflow_bench_datasets.photographs import ReadPhotograph

        try:
            found = images_by_class(folder, classes, size)
        except LayoutError as fault:
            raise self._fault(folder, str(fault)) from fault
        read = ReadPhotograph(self.input_shape[1], RESIZE, self.augmentation)
        return StreamedSplit(found.paths, torch.tensor(found.labels), read)

    def _fault(self, folder: Path, fault: str) -> DataError:
        home = folder.parent
        return DataError(
            f"data set {self.name!r} is not whole: {folder} {fault}; it needs {home}/train/CLASS/ and "
            f"{home}/val/CLASS/ with {self.sizes[0]} and {self.sizes[1]} photographs"
        )

    def _missing(self, root: Path) -> list[str]:
        return [part for part in PARTS if not (root / self.name / part).is_dir()]
