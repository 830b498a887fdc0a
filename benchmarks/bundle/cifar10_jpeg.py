"""A plugin with `cifar10-jpeg`: the images of CIFAR-10 encoded again as JPEG, from one archive.

They are not the published bytes: accuracies are close to those on `cifar10`, and not equal.
`python cifar10_jpeg.py FROM TO` decodes the archive in a data folder once; the workers that have TO as their
data folder need not do it.
"""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from synflow_bench import Augmentation, Dataset, Split, Splits, hookimpl

ARCHIVE = "cifar10-jpeg.tar.gz"
DECODED = "cifar10-jpeg.pt"
"""The decoded images and labels of both splits, which processes share in memory."""


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
        """Return True if the archive or its decoded images are in the data folder."""
        return any((root / name).is_file() for name in (ARCHIVE, DECODED))

    def load(self, root: Path, *, download: bool = False) -> Splits:
        """Read the decoded images, or decode all: both in the order of names, as labels are of classes'."""
        if (root / DECODED).is_file():
            return Splits(*(Split(*split) for split in torch.load(root / DECODED, mmap=True)))
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


def decode(source: Path, target: Path) -> None:
    """Write the decoded images of the archive in `source` to the folder `target`."""
    splits, new = Cifar10Jpeg().load(source), target / f".{DECODED}"
    target.mkdir(parents=True, exist_ok=True)
    torch.save([[split.images, split.labels] for split in (splits.train, splits.test)], new)
    new.replace(target / DECODED)


@hookimpl
def synflow_bench_datasets() -> dict[str, type[Dataset]]:
    return {"cifar10-jpeg": Cifar10Jpeg}


if __name__ == "__main__":
    decode(Path(sys.argv[1]), Path(sys.argv[2]))
