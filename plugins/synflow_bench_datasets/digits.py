"""The digits of scikit-learn, which need no download."""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from synflow_bench import Dataset, Split, Splits
from synflow_bench.errors import DataMissingError

if TYPE_CHECKING:
    from torch import Tensor

TEST_EVERY = 5
TEST_FROM = 2
GRAY_LEVELS = 16


class Digits(Dataset):
    """1,797 scans of handwritten digits, from scikit-learn.

    The third scan of every class and each fifth scan of that class after it are for testing, the rest for
    training. Both splits thus have the same class proportions, and nothing is random. Gray levels 0 to 16
    are scaled to bytes 0 to 255 and rounded.

    Alpaydin & Kaynak, "Optical Recognition of Handwritten Digits", 1998, UCI Machine Learning Repository.

    Example:
        >>> splits = Digits().load(Path("unused"))
        >>> splits.train.images.shape
        torch.Size([1438, 1, 8, 8])
    """

    input_shape = (1, 8, 8)
    num_classes = 10
    sizes = (1438, 359)
    mean = (0.3053,)
    std = (0.3757,)

    def present(self, root: Path) -> bool:  # noqa: ARG002  the scans come with scikit-learn
        """Return True, because scikit-learn is installed with synflow-bench."""
        return True

    def load(self, root: Path, *, download: bool = False) -> Splits:  # noqa: ARG002  as above
        """Read both splits from scikit-learn's file; `root` and `download` have no effect."""
        import numpy as np
        import torch

        with gzip.open(self._file()) as file:
            scans = torch.from_numpy(np.loadtxt(file, delimiter=","))
        gray = scans[:, :-1].reshape(-1, *self.input_shape)
        images = (gray * (255 / GRAY_LEVELS)).round().to(torch.uint8)
        labels = scans[:, -1].to(torch.int64)
        testing = self._ranks(labels) % TEST_EVERY == TEST_FROM
        return Splits(Split(images[~testing], labels[~testing]), Split(images[testing], labels[testing]))

    def _file(self) -> Path:
        """Return the path of the scans; importing scikit-learn takes much longer than reading them."""
        spec = find_spec("sklearn")
        if spec is None or spec.origin is None:
            raise DataMissingError("scikit-learn, which has the digits, is not installed; install it")
        return Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"

    def _ranks(self, labels: Tensor) -> Tensor:
        """Count for each scan the earlier scans with the same label."""
        same = labels[:, None] == labels[None, :]
        return same.tril(diagonal=-1).sum(dim=1)
