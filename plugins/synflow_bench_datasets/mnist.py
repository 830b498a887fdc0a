"""MNIST, and Fashion-MNIST, which has its format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from synflow_bench import Split, Splits
from synflow_bench_datasets.downloaded import TorchvisionDataset

if TYPE_CHECKING:
    from torch import Tensor

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


class Mnist(TorchvisionDataset):
    """70,000 scans of handwritten digits, 1x28x28.

    LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document Recognition", 1998.
    """

    name = "mnist"
    source = "MNIST"
    files = tuple(f"MNIST/raw/{file}" for file in FILES)
    elsewhere: ClassVar[Path | None] = None
    """A folder that has the files too, outside the data folder; looked into last."""

    input_shape = (1, 28, 28)
    num_classes = 10
    sizes = (60_000, 10_000)
    mean: ClassVar[tuple[float, ...]] = (0.1307,)
    std: ClassVar[tuple[float, ...]] = (0.3081,)

    def present(self, root: Path) -> bool:
        """Whether one folder has every file, each gzipped or not."""
        return self._found(root) is not None

    def read(self, root: Path) -> Splits:
        """Read both splits from the first folder that has every file."""
        paths = self._found(root)
        if paths is None:
            raise self.missing(root)
        pairs = zip(paths[::2], paths[1::2], self.sizes, strict=True)
        train, test = (self._split(images, labels, size, root) for images, labels, size in pairs)
        return Splits(train, test)

    def _found(self, root: Path) -> list[Path] | None:
        for folder in (self.home(root) / self.source / "raw", self.elsewhere):
            if folder is not None:
                paths = [_plain_or_gzipped(folder / file) for file in FILES]
                if all(path.is_file() for path in paths):
                    return paths
        return None

    def _split(self, images_path: Path, labels_path: Path, size: int, root: Path) -> Split:
        images = self._array(images_path, (size, *self.input_shape[1:]), root)
        labels = self._array(labels_path, (size,), root)
        if int(labels.max()) >= self.num_classes:
            raise self.damaged(
                labels_path, f"has label {int(labels.max())} of {self.num_classes} classes", root
            )
        return Split(images[:, None], labels.long())

    def _array(self, path: Path, shape: tuple[int, ...], root: Path) -> Tensor:
        from synflow_bench_datasets.idx import NotIdxError, read_idx

        try:
            array = read_idx(path, len(shape))
        except NotIdxError as error:
            raise self.damaged(path, str(error), root) from error
        if array.shape != shape:
            raise self.damaged(path, f"holds {_by(array.shape)} bytes instead of {_by(shape)}", root)
        return array


class FashionMnist(Mnist):
    """70,000 photographs of clothes, 1x28x28; also found where Debian's package puts them.

    Xiao, Rasul, Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
    Algorithms", 2017, arXiv 1708.07747.
    """

    name = "fashion-mnist"
    source = "FashionMNIST"
    files = tuple(f"FashionMNIST/raw/{file}" for file in FILES)
    package = "dataset-fashion-mnist"
    elsewhere: ClassVar[Path | None] = Path("/usr/share/datasets/fashion-mnist")

    mean = (0.2860,)
    std = (0.3530,)


def _plain_or_gzipped(path: Path) -> Path:
    return path if path.is_file() else path.with_name(f"{path.name}.gz")


def _by(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))
