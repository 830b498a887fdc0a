"""Places where published files are found, and the messages that name them."""

from __future__ import annotations

import gzip
import pickle
import shutil
import tarfile
from hashlib import md5
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from synflow_bench.errors import DataError, DataMissingError
from synflow_bench_datasets.cifar import Cifar10, Cifar100
from synflow_bench_datasets.imagenet import Imagenet
from synflow_bench_datasets.mnist import FILES, FashionMnist, Mnist
from synflow_bench_datasets.tiny_imagenet import TinyImagenet


class FakeMnist(Mnist):
    """Two training and one test scan."""

    sizes = (2, 1)
    checksums = ()


def write_mnist(folder: Path, *, packed: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file, count in zip(FILES, (2, 2, 1, 1), strict=True):
        sizes = (count, 28, 28) if "images" in file else (count,)
        header = bytes((0, 0, 8, len(sizes))) + b"".join(size.to_bytes(4, "big") for size in sizes)
        content = header + bytes(int(np.prod(sizes)))
        if packed:
            (folder / f"{file}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / file).write_bytes(content)


@pytest.mark.parametrize("place", ["mnist/MNIST/raw", "MNIST/raw", "mnist", "mnist/raw"])
@pytest.mark.parametrize("packed", [False, True])
def test_mnist_is_found_in_every_usual_layout(place: str, packed: bool, tmp_path: Path) -> None:
    assert not FakeMnist().present(tmp_path)
    write_mnist(tmp_path / place, packed=packed)
    assert FakeMnist().present(tmp_path)
    assert len(FakeMnist().load(tmp_path).train) == 2


def test_the_files_of_mnist_are_not_those_of_fashion_mnist(tmp_path: Path) -> None:
    class Fashion(FashionMnist):
        elsewhere = None

    write_mnist(tmp_path / "MNIST" / "raw")
    assert not Fashion().present(tmp_path)


@pytest.fixture
def batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `cifar-10-batches-py` with one image per file, and its archive beside it."""
    import torchvision.datasets

    folder = tmp_path / "made" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    sums = {}
    for file in [Path(each).name for each in Cifar10.files]:
        content: dict[str, Any] = {"data": np.zeros((1, 3072), np.uint8), "labels": [3]}
        if file == "batches.meta":
            content = {"label_names": [str(number) for number in range(10)]}
        (folder / file).write_bytes(pickle.dumps(content))
        sums[file] = md5((folder / file).read_bytes()).hexdigest()  # noqa: S324  as published
    archive = folder.parent / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(folder, folder.name)

    class Source(torchvision.datasets.CIFAR10):  # type: ignore[misc]
        train_list: ClassVar[Any] = [[f"data_batch_{i}", sums[f"data_batch_{i}"]] for i in range(1, 6)]
        test_list: ClassVar[Any] = [["test_batch", sums["test_batch"]]]
        meta: ClassVar[Any] = {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]}
        tgz_md5 = md5(archive.read_bytes()).hexdigest()  # noqa: S324  as above

    monkeypatch.setattr(Cifar10, "torchvision_class", lambda _: Source)
    return folder


@pytest.mark.parametrize("place", [".", "cifar10"])
def test_cifar10_is_found_as_torchvision_leaves_it(place: str, batches: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(batches, root / place / batches.name)
    assert Cifar10().present(root)
    assert Cifar10().load(root).train.labels.tolist() == [3] * 5


@pytest.mark.parametrize("place", [".", "cifar10"])
def test_an_archive_of_cifar10_is_unpacked_once(place: str, batches: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    (root / place).mkdir(parents=True)
    archive = shutil.copy(batches.parent / "cifar-10-python.tar.gz", root / place)
    assert Cifar10().present(root)
    assert Cifar10().load(root).test.labels.tolist() == [3]
    Path(archive).unlink()
    assert Cifar10().load(root).test.labels.tolist() == [3]
    assert not list(root.rglob(".unpacking-*"))


def test_an_archive_that_is_not_the_published_one_is_named(batches: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    (root / "cifar10").mkdir(parents=True)
    (root / "cifar10" / "cifar-10-python.tar.gz").write_bytes(b"cut")
    with pytest.raises(DataError, match=r"cifar-10-python\.tar\.gz is not the published file"):
        Cifar10().load(root)


@pytest.mark.parametrize(
    ("dataset", "file"),
    [
        (Cifar10(), "cifar-10-python.tar.gz"),
        (Cifar100(), "cifar-100-python.tar.gz"),
        (Mnist(), "train-images-idx3-ubyte"),
        (TinyImagenet(), "tiny-imagenet-200.zip"),
    ],
)
def test_the_error_for_missing_files_says_where_they_go(dataset: Any, file: str, tmp_path: Path) -> None:
    with pytest.raises(DataMissingError) as error:
        dataset.load(tmp_path)
    assert file in str(error.value)
    assert str(tmp_path / dataset.name) in str(error.value)
    assert file in dataset.place(tmp_path)


class FewPhotographs(Imagenet):
    """Two classes of one photograph per split."""

    num_classes = 2
    sizes = (2, 2)


class FewTiny(TinyImagenet):
    """Two classes with one image per split."""

    num_classes = 2
    sizes = (2, 2)


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """Both trees with what systems leave behind; the validation images of the second are not sorted."""
    from PIL import Image

    tiny = tmp_path / "tiny-imagenet-200"
    for name in ("n01", "n02"):
        for folder in (
            tmp_path / "imagenet" / "train" / name,
            tmp_path / "imagenet" / "val" / name,
            tiny / "train" / name / "images",
        ):
            folder.mkdir(parents=True)
            Image.new("RGB", (64, 64)).save(folder / f"{name}_0.JPEG")
            (folder / f"._{name}_0.JPEG").write_bytes(b"junk")
    (tiny / "val" / "images").mkdir(parents=True)
    for index in range(2):
        Image.new("RGB", (64, 64)).save(tiny / "val" / "images" / f"val_{index}.JPEG")
    (tiny / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn01\nval_1.JPEG\tn02\n")
    for folder in (tmp_path / "imagenet" / "train", tmp_path / "imagenet" / "val", tiny / "train"):
        for name in (".ipynb_checkpoints", "lost+found", "__MACOSX"):
            (folder / name).mkdir()
    (tiny / "val" / "images" / ".DS_Store").write_bytes(b"junk")
    return tmp_path


def test_trees_of_photographs_may_have_what_systems_leave_behind(few: Path) -> None:
    photographs, tiny = FewPhotographs().load(few), FewTiny().load(few)
    for splits in (photographs, tiny):
        assert splits.train.labels.tolist() == splits.test.labels.tolist() == [0, 1]


def test_a_class_folder_too_many_is_named(few: Path) -> None:
    (few / "imagenet" / "val" / "notes").mkdir()
    with pytest.raises(DataError, match="3 class folders instead of 2, of which notes have no image"):
        FewPhotographs().load(few)
