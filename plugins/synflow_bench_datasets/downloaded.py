"""Base classes of datasets that are downloaded, and their error messages."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from synflow_bench import Dataset, Splits
from synflow_bench.data import download_command
from synflow_bench.errors import DataError, DataMissingError, one_line


class DownloadedDataset(Dataset):
    """A dataset whose `files` are below `<root>/<name>`, or, as torchvision puts them, below `<root>`."""

    name: ClassVar[str]
    files: ClassVar[tuple[str, ...]]
    published: ClassVar[str] = ""
    """The names of published files or folders that may lie there, as messages say them."""
    package: ClassVar[str | None] = None
    """Debian package with the same files, if there is one."""

    @abstractmethod
    def fetch_into(self, folder: Path) -> None:
        """Download, check and unpack `files` into an empty folder.

        May raise `OSError`, `HTTPException` and `RuntimeError`, which `fetch` turns into `DataError`.
        """

    @abstractmethod
    def read(self, root: Path) -> Splits:
        """Read both splits from files that are present; raises the errors of `load`."""

    def present(self, root: Path) -> bool:
        """Return True if every file exists; their contents are not checked."""
        return self._has_files(self.home(root))

    def load(self, root: Path, *, download: bool = False) -> Splits:
        """Read both splits, after downloading missing files if `download` is set.

        Raises:
            DataMissingError: Files are missing and `download` is not set.
            DataError: Files are damaged, or cannot be downloaded.
        """
        if not self.present(root):
            if not download:
                raise self.missing(root)
            self.fetch(root)
        return self.read(root)

    def fetch(self, root: Path) -> None:
        """Download, check and unpack in a temporary folder, then move the files to their place.

        An interrupted download leaves no file behind.

        Raises:
            DataError: The network or the disk does not allow it.
        """
        try:
            root.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=root, prefix=f".{self.name}-", ignore_cleanup_errors=True) as folder:
                self.fetch_into(Path(folder))
                for file in self.files:
                    target = root / self.name / file
                    target.parent.mkdir(parents=True, exist_ok=True)
                    Path(folder, file).replace(target)
        except (OSError, HTTPException, RuntimeError) as error:
            cause = one_line(error, with_type=False)
            raise DataError(
                f"could not download {self.name!r}: {cause}; try again: {self._ways_to_get_it(root)}"
            ) from error

    def home(self, root: Path) -> Path:
        """Return the folder of the files: the first that has them all, else that for a download."""
        return next((place for place in self.places(root) if self._has_files(place)), root / self.name)

    def places(self, root: Path) -> tuple[Path, ...]:
        """Return the folders that may have the files."""
        return root / self.name, root

    def place(self, root: Path) -> str:
        """Say where published files are found."""
        return f"{root / self.name} (or {root}): {self.published}"

    def missing(self, root: Path) -> DataMissingError:
        """Return the error for missing files."""
        ways = self._ways_to_get_it(root)
        return DataMissingError(
            f"dataset {self.name!r} is not in {root}; its published files go into {self.place(root)}; "
            f"or download it with: {ways}"
        )

    def damaged(self, path: Path, reason: str, root: Path) -> DataError:
        """Return the error for an unusable file; `reason` continues a sentence that starts with its name."""
        way_out = f"delete it and download again: {download_command(root, self.name)}"
        if root not in path.parents:
            way_out = f"install it again: apt-get install --reinstall {self.package}"
        return DataError(f"dataset {self.name!r} is damaged: {path} {reason}; {way_out}")

    def _has_files(self, folder: Path) -> bool:
        return all((folder / file).is_file() for file in self.files)

    def _ways_to_get_it(self, root: Path) -> str:
        command = download_command(root, self.name)
        return f"{command} (or: apt-get install {self.package})" if self.package else command


class TorchvisionDataset(DownloadedDataset):
    """A dataset that torchvision's class `source` downloads, in torchvision's file layout."""

    source: ClassVar[str]

    def fetch_into(self, folder: Path) -> None:
        """Let torchvision download, check and unpack."""
        self.open(folder, download=True)

    def torchvision_class(self) -> Any:
        """Import torchvision's class."""
        import torchvision.datasets

        return getattr(torchvision.datasets, self.source)

    def open(self, folder: Path, *, train: bool = True, download: bool = False) -> Any:
        """Create torchvision's dataset for `folder`."""
        from numpy.exceptions import VisibleDeprecationWarning

        with warnings.catch_warnings():
            # CIFAR's old pickles and torchvision's way to unpack warn, and users can change neither.
            warnings.simplefilter("ignore", VisibleDeprecationWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            return self.torchvision_class()(folder, train=train, download=download)
