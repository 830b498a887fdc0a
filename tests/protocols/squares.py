"""A plugin file: networks and datasets whose trainings have much state."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from synflow_bench import Dataset, Split, Splits, StreamedSplit, hookimpl
from synflow_bench.data import Augmentation

TRAIN, TEST, CLASSES = 66, 24, 3


def image_of(index: int) -> Tensor:
    draw = torch.Generator().manual_seed(index)
    noise = torch.randint(128, (1, 4, 4), generator=draw)
    return (noise + 40 * (index % CLASSES)).to(torch.uint8)


def read(item: str, *, augmented: bool) -> Tensor:
    noise = torch.randint(16, (1, 4, 4), dtype=torch.uint8) if augmented else 0
    return image_of(int(item)) // 2 + noise


class Squares(Dataset):
    """Images of 4x4 pixels, in memory, that are cropped and flipped."""

    input_shape: ClassVar = (1, 4, 4)
    num_classes: ClassVar = CLASSES
    sizes: ClassVar = (TRAIN, TEST)
    mean: ClassVar = (0.4,)
    std: ClassVar = (0.2,)
    augmentation: ClassVar[Augmentation | None] = Augmentation(1, flip=True)

    def present(self, root: Path) -> bool:
        return True

    def load(self, root: Path, *, download: bool = False) -> Splits:
        return Splits(self.split(range(TRAIN)), self.split(range(TRAIN, TRAIN + TEST)))

    def split(self, indices: range) -> Split | StreamedSplit:
        return Split(torch.stack([image_of(index) for index in indices]), labels_of(indices))


class StreamedSquares(Squares):
    """The same, read one by one."""

    augmentation: ClassVar = Augmentation(jitter=0.1)

    def split(self, indices: range) -> StreamedSplit:
        return StreamedSplit([str(index) for index in indices], labels_of(indices), read)


def labels_of(indices: range) -> Tensor:
    return torch.tensor([index % CLASSES for index in indices])


def perceptron(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """A network that can be batched."""
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 20), nn.ReLU(), nn.Linear(20, num_classes))


def dropout(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(16, 20), nn.ReLU(), nn.Dropout(0.3), nn.Linear(20, num_classes)
    )


def normed(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """A network with running statistics, of which some are in no state dict."""
    norm = nn.BatchNorm2d(6)
    norm.register_buffer("running_mean", norm.running_mean, persistent=False)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), norm, nn.ReLU(), nn.Flatten(), nn.Linear(96, num_classes)
    )


@hookimpl
def synflow_bench_models() -> Mapping[str, Any]:
    return {"perceptron": perceptron, "drops": dropout, "normed": normed}


@hookimpl
def synflow_bench_datasets() -> Mapping[str, Any]:
    return {"squares": Squares, "streamed-squares": StreamedSquares}
