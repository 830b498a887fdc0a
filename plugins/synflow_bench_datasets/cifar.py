"""CIFAR-10 and CIFAR-100."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from synflow_bench import Augmentation, Split, Splits
from synflow_bench.errors import DataError
from synflow_bench_datasets.downloaded import TorchvisionDataset


class Cifar10(TorchvisionDataset):
    """60,000 color photographs of 10 kinds of things.

    The files are pickles; torchvision opens one only if it has the published checksum.

    Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """

    name = "cifar10"
    source = "CIFAR10"
    files: ClassVar[tuple[str, ...]] = tuple(
        f"cifar-10-batches-py/{file}"
        for file in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta")
    )

    input_shape = (3, 32, 32)
    num_classes: ClassVar[int] = 10
    sizes = (50_000, 10_000)
    mean: ClassVar[tuple[float, ...]] = (0.491, 0.482, 0.447)
    std: ClassVar[tuple[float, ...]] = (0.247, 0.243, 0.262)
    augmentation = Augmentation(crop_padding=4, flip=True)

    def read(self, root: Path) -> Splits:
        """Read both splits; a file that differs from the published one counts as damaged."""
        return Splits(self._split(root, train=True), self._split(root, train=False))

    def _split(self, root: Path, *, train: bool) -> Split:
        import torch

        try:
            source = self.open(self.home(root), train=train)
        except RuntimeError as error:
            raise self._damaged_or_missing(root) from error
        except OSError as error:
            raise self.damaged(Path(error.filename), f"cannot be read: {error.strerror}", root) from error
        images = torch.from_numpy(source.data).permute(0, 3, 1, 2).contiguous()
        return Split(images, torch.tensor(source.targets))

    def _damaged_or_missing(self, root: Path) -> DataError:
        from torchvision.datasets.utils import check_integrity

        source = self.torchvision_class()
        published = dict([*source.train_list, *source.test_list])
        published[source.meta["filename"]] = source.meta["md5"]
        for path in (self.home(root) / file for file in self.files):
            if not check_integrity(path, published[path.name]):
                return self.damaged(path, "is not the published file", root)
        return self.missing(root)


class Cifar100(Cifar10):
    """60,000 color photographs of 100 kinds of things.

    Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """

    name = "cifar100"
    source = "CIFAR100"
    files = tuple(f"cifar-100-python/{file}" for file in ("train", "test", "meta"))

    num_classes = 100
    mean = (0.507, 0.487, 0.441)
    std = (0.267, 0.256, 0.276)
