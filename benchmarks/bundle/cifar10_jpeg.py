"""A plugin with `cifar10-jpeg`: the images of CIFAR-10 encoded again as JPEG, from one archive.

They are not the published bytes: accuracies are close to those on `cifar10`, and not equal.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from synflow_bench import Augmentation, Dataset, Split, Splits, hookimpl

ARCHIVE = "cifar10-jpeg.tar.gz"


class Cifar10Jpeg(Dataset):
    """60,000 color images of ten classes, as JPEG files.

    Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """

    input_shape = (3, 32, 32)
    num_classes = 10
    sizes = (50_000, 10_000)
    mean = (0.4913, 0.4821, 0.4465)
    std = (0.2452, 0.2428, 0.2606)
    augmentation = Augmentation(crop_padding=4, flip=True)

    def present(self, root: Path) -> bool:
        """Return True if the archive is in the data folder."""
        return (root / ARCHIVE).is_file()

    def load(self, root: Path, *, download: bool = False) -> Splits:
        """Decode all images, in the order of their names; labels are the classes in the order of theirs."""
        found: dict[str, list[tuple[str, str, np.ndarray]]] = {"train": [], "test": []}
        with tarfile.open(root / ARCHIVE) as archive:
            for member in archive:
                *_, split, label, name = ("", "", *Path(member.name).parts)
                content = archive.extractfile(member) if name.endswith(".jpg") else None
                if content is not None:
                    image = Image.open(io.BytesIO(content.read())).convert("RGB")
                    found[split].append((label, name, np.asarray(image)))
        classes = sorted({label for label, _, _ in found["train"]})
        return Splits(*(self._split(found[split], classes) for split in ("train", "test")))

    def _split(self, images: list[tuple[str, str, np.ndarray]], classes: list[str]) -> Split:
        images.sort(key=lambda each: each[:2])
        pixels = torch.from_numpy(np.stack([image for _, _, image in images])).permute(0, 3, 1, 2)
        return Split(pixels.contiguous(), torch.tensor([classes.index(label) for label, _, _ in images]))


@hookimpl
def synflow_bench_datasets() -> dict[str, type[Dataset]]:
    return {"cifar10-jpeg": Cifar10Jpeg}
