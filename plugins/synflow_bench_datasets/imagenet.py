"""ImageNet, read from a local folder during training."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from synflow_bench import Augmentation, Dataset, Splits, StreamedSplit
from synflow_bench.errors import DataError, DataMissingError
from synflow_bench_datasets.images import InvalidFileError, class_folders, images_by_class, open_rgb

if TYPE_CHECKING:
    from torch import Tensor

RESIZE = 256
PARTS = ("train", "val")


class Imagenet(Dataset):
    """1.3 million photographs of 1,000 kinds of things.

    They are in `<root>/imagenet/train/<class>/` and `<root>/imagenet/val/<class>/`; either may be a link.
    They cannot be downloaded, and each is read from disk when it is needed. A subclass with other
    `num_classes` and `sizes` reads a part of it.

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
        """Return True if the folders for training and validation exist; their contents are not checked."""
        return not self._missing(root)

    def by_hand(self, root: Path) -> str:
        """Describe the expected layout, and the part of it that is missing."""
        home = root / self.name
        missing = f"{home} has no folder {' and none '.join(map(repr, self._missing(root)))}"
        found = missing if home.is_dir() else f"{home} is not there"
        return (
            f"it cannot be downloaded, and {found}; put the photographs into {home}/train/CLASS/ and "
            f"{home}/val/CLASS/, {self.num_classes} class folders in each, or link {home} to their folder"
        )

    def load(self, root: Path, *, download: bool = False) -> Splits:  # noqa: ARG002  see `by_hand`
        """List the photographs, without reading them.

        Raises:
            DataMissingError: A folder for training or validation is missing.
            DataError: Class folders or photographs are missing.
        """
        if not self.present(root):
            raise DataMissingError(f"dataset {self.name!r} is not in {root}; {self.by_hand(root)}")
        train, val = (root / self.name / part for part in PARTS)
        classes, others = self._classes(train), self._classes(val)
        if classes != others:
            odd = min(classes.keys() ^ others.keys())
            raise self._incomplete(val if odd in classes else train, f"has no folder for class {odd!r}")
        return Splits(
            self._split(train, classes, self.sizes[0]),
            self._split(val, classes, self.sizes[1]),
        )

    def _classes(self, folder: Path) -> dict[str, int]:
        try:
            return class_folders(folder, self.num_classes)
        except InvalidFileError as error:
            raise self._incomplete(folder, str(error)) from error

    def _split(self, folder: Path, classes: dict[str, int], size: int) -> StreamedSplit:
        import torch

        try:
            found = images_by_class(folder, classes, size)
        except InvalidFileError as error:
            raise self._incomplete(folder, str(error)) from error
        read = ReadPhotograph(self.input_shape[1], RESIZE, self.augmentation)
        return StreamedSplit(found.paths, torch.tensor(found.labels), read)

    def _incomplete(self, folder: Path, reason: str) -> DataError:
        home = folder.parent
        return DataError(
            f"dataset {self.name!r} is incomplete: {folder} {reason}; it needs {home}/train/CLASS/ and "
            f"{home}/val/CLASS/ with {self.sizes[0]} and {self.sizes[1]} photographs"
        )

    def _missing(self, root: Path) -> list[str]:
        return [part for part in PARTS if not (root / self.name / part).is_dir()]


@dataclass(frozen=True)
class ReadPhotograph:
    """Reader of one photograph as (3, side, side) uint8.

    For evaluation, the shorter side is resized to `resize` and the center is cut out. For training, the
    changes of `augmentation` follow each other: resized crop, grayscale, jitter of brightness, contrast,
    saturation and hue, flip.
    """

    side: int
    resize: int
    augmentation: Augmentation

    def __call__(self, item: str, *, augmented: bool) -> Tensor:
        """Read the photograph at the path `item`."""
        image: Tensor = (self._training if augmented else self._evaluation)(open_rgb(item))
        return image

    @cached_property
    def _evaluation(self) -> Any:
        from torchvision.transforms import v2

        return v2.Compose([v2.Resize(self.resize), v2.CenterCrop(self.side), v2.PILToTensor()])

    @cached_property
    def _training(self) -> Any:
        from torchvision.transforms import v2

        change = self.augmentation
        steps = [
            v2.RandomResizedCrop(self.side, scale=change.resized_crop or (1.0, 1.0)),
            v2.RandomGrayscale(change.grayscale),
            v2.ColorJitter(change.jitter, change.jitter, change.jitter, change.jitter),
            v2.RandomHorizontalFlip(0.5 if change.flip else 0.0),
        ]
        return v2.Compose([*steps, v2.PILToTensor()])
