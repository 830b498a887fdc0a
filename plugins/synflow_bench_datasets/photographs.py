"""Reading photographs, and changing them for training."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from synflow_bench import Augmentation
from synflow_bench.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor


def opened(path: Path | str) -> Image.Image:
    """The photograph at `path` in red, green and blue; raises `DataError` where it is none."""
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path} is damaged: it cannot be read as an image; copy it again") from error


@dataclass(frozen=True)
class ReadPhotograph:
    """Reads a photograph as (3, side, side) uint8.

    For evaluation the shorter side becomes `resize` and the centre is cut out. For training it is changed as
    `augmentation` says, in this order: resized crop, grayscale, jitter of brightness, contrast, saturation
    and hue, flip.
    """

    side: int
    resize: int
    augmentation: Augmentation

    def __call__(self, item: str, *, augmented: bool) -> Tensor:
        """The photograph at the path `item`."""
        image: Tensor = (self._training if augmented else self._evaluation)(opened(item))
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
