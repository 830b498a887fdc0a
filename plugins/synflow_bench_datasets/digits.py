"""scikit-learn's digits: they come with the package, so nothing is ever fetched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from synflow_bench import Dataset, Split, Splits

if TYPE_CHECKING:
    from torch import Tensor

TEST_EVERY = 5
TEST_FROM = 2
GREY_LEVELS = 16


class Digits(Dataset):
    """1,797 scans of handwritten digits, 1x8x8, in the order of scikit-learn.

    Of every class the third scan and then each fifth is for testing, the rest for training: both splits have
    the classes in the same parts, and nothing is drawn. Grey levels 0 to 16 become bytes 0 to 255, rounded.

    Alpaydin & Kaynak, "Optical Recognition of Handwritten Digits", 1998, UCI Machine Learning Repository.
    """

    input_shape = (1, 8, 8)
    num_classes = 10
    sizes = (1438, 359)
    mean = (0.3053,)
    std = (0.3757,)

    def present(self, root: Path) -> bool:  # noqa: ARG002  the scans come with scikit-learn
        """Say yes: scikit-learn is installed with synflow-bench."""
        return True

    def load(self, root: Path, *, download: bool = False) -> Splits:  # noqa: ARG002  as above
        """Read the scans from scikit-learn; `root` and `download` change nothing."""
        import torch
        from sklearn.datasets import load_digits

        scans = load_digits()
        grey = torch.from_numpy(scans.images)[:, None]
        images = (grey * (255 / GREY_LEVELS)).round().to(torch.uint8)
        labels = torch.from_numpy(scans.target).to(torch.int64)
        testing = self._ranks(labels) % TEST_EVERY == TEST_FROM
        return Splits(Split(images[~testing], labels[~testing]), Split(images[testing], labels[testing]))

    def _ranks(self, labels: Tensor) -> Tensor:
        """How many earlier scans share the label of each."""
        same = labels[:, None] == labels[None, :]
        return same.tril(diagonal=-1).sum(dim=1)
