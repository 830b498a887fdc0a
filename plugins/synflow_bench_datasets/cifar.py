"""CIFAR-10 and CIFAR-100."""

from __future__ import annotations

import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory
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
    archive: ClassVar[str] = "cifar-10-python.tar.gz"
    published = "the folder cifar-10-batches-py, or cifar-10-python.tar.gz"
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

    def present(self, root: Path) -> bool:
        """Return True if every file exists, or the published archive."""
        return super().present(root) or self._packed(root) is not None

    def read(self, root: Path) -> Splits:
        """Read both splits; a file that differs from the published one counts as damaged."""
        if not super().present(root) and (archive := self._packed(root)):
            self._unpack(archive, root)
        return Splits(self._split(root, train=True), self._split(root, train=False))

    def _packed(self, root: Path) -> Path | None:
        """Find the published archive."""
        paths = (place / self.archive for place in self.places(root))
        return next((path for path in paths if path.is_file()), None)

    def _unpack(self, archive: Path, root: Path) -> None:
        """Unpack an archive that somebody has put there; an interruption leaves nothing behind."""
        from torchvision.datasets.utils import check_integrity

        if not check_integrity(archive, self.torchvision_class().tgz_md5):
            raise self.damaged(archive, "is not the published file, or not all of it", root)
        home = root / self.name
        folder = Path(self.files[0]).parts[0]
        try:
            home.mkdir(exist_ok=True)
            with TemporaryDirectory(dir=home, prefix=".unpacking-") as temporary:
                with tarfile.open(archive) as packed:
                    packed.extractall(temporary, filter="data")
                for file in self.files:
                    (home / folder).mkdir(exist_ok=True)
                    Path(temporary, file).replace(home / file)
        except OSError as error:
            raise DataError(f"could not unpack {archive}: {error.strerror}; free space for it") from error

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
    archive = "cifar-100-python.tar.gz"
    published = "the folder cifar-100-python, or cifar-100-python.tar.gz"
    files = tuple(f"cifar-100-python/{file}" for file in ("train", "test", "meta"))

    num_classes = 100
    mean = (0.507, 0.487, 0.441)
    std = (0.267, 0.256, 0.276)
