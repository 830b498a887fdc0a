"""A plugin with datasets of noise, as large as Fashion-MNIST or CIFAR-10, or tiny, for any machine."""

from __future__ import annotations

from pathlib import Path

import torch

from synflow_bench import Augmentation, Dataset, Split, Splits, hookimpl


class MadeUp(Dataset):
    """Noise of Fashion-MNIST's form and size."""

    input_shape = (1, 28, 28)
    num_classes = 10
    sizes = (60_000, 10_000)
    mean = (0.5,)
    std = (0.25,)

    def present(self, root: Path) -> bool:
        """Return True, because the data are made up."""
        return True

    def load(self, root: Path, *, download: bool = False) -> Splits:
        """Draw the images."""
        draw = torch.Generator().manual_seed(0)

        def split(count: int) -> Split:
            images = torch.randint(256, (count, *self.input_shape), dtype=torch.uint8, generator=draw)
            return Split(images, torch.arange(count) % self.num_classes)

        return Splits(split(self.sizes[0]), split(self.sizes[1]))


class FewMadeUp(MadeUp):
    """A few small images."""

    input_shape = (1, 12, 12)
    sizes = (240, 40)


class MadeUpColor(MadeUp):
    """Noise of CIFAR-10's form and size."""

    input_shape = (3, 32, 32)
    sizes = (50_000, 10_000)
    mean = (0.5, 0.5, 0.5)
    std = (0.25, 0.25, 0.25)
    augmentation = Augmentation(crop_padding=4, flip=True)


class FewMadeUpColor(MadeUpColor):
    """A few color images."""

    sizes = (240, 40)


@hookimpl
def synflow_bench_datasets() -> dict[str, type[Dataset]]:
    return {
        "made-up-large": MadeUp,
        "made-up-small": FewMadeUp,
        "made-up-color": MadeUpColor,
        "made-up-few-color": FewMadeUpColor,
    }
