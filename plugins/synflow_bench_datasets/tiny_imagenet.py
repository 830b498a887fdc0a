"""Tiny ImageNet."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

from synflow_bench import Augmentation, Split, Splits
from synflow_bench.errors import DataError
from synflow_bench_datasets.archive import ArchiveError
from synflow_bench_datasets.downloaded import DownloadedDataset
from synflow_bench_datasets.folders import LayoutError
from synflow_bench_datasets.tiny_tree import list_tree, unpack_tree

TREE = "tiny-imagenet-200"
ARCHIVE = f"{TREE}.zip"


class TinyImagenet(DownloadedDataset):
    """110,000 photographs of two hundred kinds of things, 3x64x64; the labelled validation images are for
    testing.

    The archive is unpacked without its unlabelled test images, and its validation images are sorted into
    class folders. A tree that somebody else has unpacked will do, sorted or not, and so will the archive
    itself in `<root>/tiny-imagenet`. What has been decoded once is kept beside it in one file.

    Le & Yang, "Tiny ImageNet Visual Recognition Challenge", 2015, Stanford CS 231N.
    """

    name = "tiny-imagenet"
    files = (TREE,)
    address: ClassVar[str] = f"http://cs231n.stanford.edu/{ARCHIVE}"
    md5: ClassVar[str] = "90528d7ca1a48142e341f4ef8d21d0de"

    input_shape = (3, 64, 64)
    num_classes: ClassVar[int] = 200
    sizes: ClassVar[tuple[int, int]] = (100_000, 10_000)
    mean = (0.480, 0.448, 0.397)
    std = (0.276, 0.269, 0.282)
    augmentation = Augmentation(crop_padding=4, flip=True)

    def present(self, root: Path) -> bool:
        """Whether the decoded images, the unpacked tree or the archive is there, by name."""
        home = self.home(root)
        return any((home / name).exists() for name in (self._decoded_name, TREE, ARCHIVE))

    def read(self, root: Path) -> Splits:
        """Read the decoded images, or unpack and decode what there is and keep that."""
        from synflow_bench_datasets.decoded import NotDecodedError, read_decoded, write_decoded

        decoded = self.home(root) / self._decoded_name
        if decoded.exists():
            try:
                return read_decoded(decoded, self.sizes, self.input_shape)
            except NotDecodedError as fault:
                raise self.damaged(decoded, str(fault), root) from fault
        splits = self._decode(root)
        write_decoded(decoded, splits)
        return splits

    def fetch_into(self, folder: Path) -> None:
        """Download the archive and unpack it."""
        from torchvision.datasets.utils import download_url

        download_url(self.address, folder, ARCHIVE, self.md5)
        try:
            unpack_tree(folder / ARCHIVE, folder)
        except (ArchiveError, LayoutError) as fault:
            raise RuntimeError(f"the archive is refused: {fault}") from fault

    @property
    def _decoded_name(self) -> str:
        return f"images-{self.revision}.safetensors"

    def _decode(self, root: Path) -> Splits:
        import torch

        from synflow_bench_datasets.decoded import decode

        tree = self.home(root) / TREE
        if not tree.exists():
            self._unpack(tree.with_name(ARCHIVE), root)
        try:
            found = list_tree(tree, self.num_classes, self.sizes)
            images = [decode(part.paths, self.input_shape) for part in found]
        except LayoutError as fault:
            raise self.damaged(tree, str(fault), root) from fault
        train, test = (Split(i, torch.tensor(part.labels)) for i, part in zip(images, found, strict=True))
        return Splits(train, test)

    def _unpack(self, archive: Path, root: Path) -> None:
        """Unpack an archive that somebody has put there; nothing is left of one that breaks off."""
        from torchvision.datasets.utils import check_integrity

        if not check_integrity(archive, self.md5):
            raise self.damaged(archive, "is not the published file, or not all of it", root)
        try:
            with TemporaryDirectory(dir=archive.parent, prefix=".unpacking-") as aside:
                unpack_tree(archive, Path(aside))
                (Path(aside) / TREE).replace(archive.with_name(TREE))
        except (ArchiveError, LayoutError) as fault:
            raise self.damaged(archive, f"is refused: {fault}", root) from fault
        except OSError as error:
            raise DataError(f"could not unpack {archive}: {error.strerror}; make room for it") from error
