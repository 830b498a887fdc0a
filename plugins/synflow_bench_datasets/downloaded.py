"""Data sets that are downloaded: where files are, how they are fetched, what is said without them."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from synflow_bench import Dataset, Splits
from synflow_bench.data import download_command
from synflow_bench.errors import DataError, DataMissingError


class DownloadedDataset(Dataset):
    """A data set whose `files` are below `<root>/<name>`."""

    name: ClassVar[str]
    files: ClassVar[tuple[str, ...]]
    package: ClassVar[str | None] = None
    """Debian's package of the same files, where there is one."""

    @abstractmethod
    def fetch_into(self, folder: Path) -> None:
        """Download `files` into an empty folder, checked and unpacked.

        Whatever of the network's, the disk's and the archive's errors it raises, `fetch` tells in one line.
        """

    @abstractmethod
    def read(self, root: Path) -> Splits:
        """Read both splits from files that were there a moment ago; raises as `load` does."""

    def present(self, root: Path) -> bool:
        """Whether every file is there; their contents are not looked at."""
        return all((self.home(root) / file).is_file() for file in self.files)

    def load(self, root: Path, *, download: bool = False) -> Splits:
        """Read both splits, fetching the files first if some are missing and `download` is set."""
        if not self.present(root):
            if not download:
                raise self.missing(root)
            self.fetch(root)
        return self.read(root)

    def fetch(self, root: Path) -> None:
        """Download, check and unpack aside, then move the files in: one that breaks off leaves none of them.

        Raises `DataError` where the network or the disk does not allow it.
        """
        try:
            root.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=root, prefix=f".{self.name}-", ignore_cleanup_errors=True) as aside:
                self.fetch_into(Path(aside))
                self._move_in(Path(aside), self.home(root))
        except (OSError, HTTPException, RuntimeError) as error:
            cause = " ".join(str(error).split()) or type(error).__name__
            raise DataError(
                f"could not download {self.name!r}: {cause}; try again: {self._ways(root)}"
            ) from error

    def home(self, root: Path) -> Path:
        """The folder of the files."""
        return root / self.name

    def missing(self, root: Path) -> DataMissingError:
        """The error for files that are not there."""
        return DataMissingError(f"data set {self.name!r} is not in {root}; fetch it with: {self._ways(root)}")

    def damaged(self, path: Path, fault: str, root: Path) -> DataError:
        """The error for a file that is there and cannot be used."""
        way_out = f"delete it and download again: {download_command(root, self.name)}"
        if root not in path.parents:
            way_out = f"install it again: apt-get install --reinstall {self.package}"
        return DataError(f"data set {self.name!r} is damaged: {path} {fault}; {way_out}")

    def _ways(self, root: Path) -> str:
        command = download_command(root, self.name)
        return f"{command} (or: apt-get install {self.package})" if self.package else command

    def _move_in(self, aside: Path, home: Path) -> None:
        for file in self.files:
            (home / file).parent.mkdir(parents=True, exist_ok=True)
            (aside / file).replace(home / file)


class TorchvisionDataset(DownloadedDataset):
    """A data set that torchvision's class `source` downloads, laid out as it does."""

    source: ClassVar[str]

    def fetch_into(self, folder: Path) -> None:
        """Let torchvision download, check and unpack."""
        self.opened(folder, download=True)

    def torchvision_class(self) -> Any:
        """torchvision's class, imported now."""
        import torchvision.datasets

        return getattr(torchvision.datasets, self.source)

    def opened(self, folder: Path, *, train: bool = True, download: bool = False) -> Any:
        """torchvision's data set in `folder`."""
        from numpy.exceptions import VisibleDeprecationWarning

        with warnings.catch_warnings():
            # An old NumPy pickled CIFAR, and torchvision unpacks in an old way: the user can mend neither.
            warnings.simplefilter("ignore", VisibleDeprecationWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            return self.torchvision_class()(folder, train=train, download=download)
