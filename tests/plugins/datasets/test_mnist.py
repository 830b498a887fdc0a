"""MNIST and Fashion-MNIST, read from small files in the published format, and from the Debian package."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
import torchvision.datasets
from numpy.typing import NDArray

from synflow_bench.errors import DataError, DataMissingError
from synflow_bench_datasets.mnist import FILES, FashionMnist, Mnist

TRAIN, TEST = 20, 10
IMAGES, LABELS = FILES[:2]


class SmallMnist(Mnist):
    sizes = (TRAIN, TEST)
    checksums = ()


class SmallFashionMnist(FashionMnist):
    sizes = (TRAIN, TEST)
    checksums = ()
    elsewhere: ClassVar[Path | None] = None


def idx(array: NDArray[np.uint8]) -> bytes:
    """Two zero bytes, type 8, the number of dimensions, the sizes in big-endian words, then the bytes."""
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def arrays() -> dict[str, NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    images = {
        file: rng.integers(0, 256, (n, 28, 28), np.uint8) for file, n in ((FILES[0], TRAIN), (FILES[2], TEST))
    }
    labels = {file: rng.integers(0, 10, n, np.uint8) for file, n in ((FILES[1], TRAIN), (FILES[3], TEST))}
    return {**images, **labels}


def raw(root: Path, dataset: Mnist) -> Path:
    return root / dataset.name / dataset.source / "raw"


def write(root: Path, dataset: Mnist | None = None, *, gzipped: bool = False) -> Path:
    """Write a small dataset where torchvision would; returns the folder of the files."""
    folder = raw(root, dataset or SmallMnist())
    fill(folder, gzipped=gzipped)
    return folder


def fill(folder: Path, *, gzipped: bool = False) -> None:
    folder.mkdir(parents=True)
    for file, array in arrays().items():
        content = idx(array)
        (folder / (f"{file}.gz" if gzipped else file)).write_bytes(
            gzip.compress(content) if gzipped else content
        )


def check(dataset: Mnist, root: Path) -> None:
    splits, expected = dataset.load(root), arrays()
    for split, images, labels in ((splits.train, *FILES[:2]), (splits.test, *FILES[2:])):
        assert (split.images.dtype, split.labels.dtype) == (torch.uint8, torch.int64)
        assert np.array_equal(split.images.numpy(), expected[images][:, None])
        assert np.array_equal(split.labels.numpy(), expected[labels])


@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize("dataset", [SmallMnist(), SmallFashionMnist()])
def test_reads_what_was_written(dataset: Mnist, gzipped: bool, tmp_path: Path) -> None:
    assert not dataset.present(tmp_path)
    write(tmp_path, dataset, gzipped=gzipped)
    assert dataset.present(tmp_path)
    check(dataset, tmp_path)


def test_reads_the_same_as_torchvision(tmp_path: Path) -> None:
    write(tmp_path)
    splits = SmallMnist().load(tmp_path)
    for split, train in ((splits.train, True), (splits.test, False)):
        theirs = torchvision.datasets.MNIST(tmp_path / "mnist", train=train)
        assert torch.equal(split.images[:, 0], theirs.data)
        assert torch.equal(split.labels, theirs.targets)


def test_an_error_for_missing_files_has_the_command_that_downloads_them(tmp_path: Path) -> None:
    with pytest.raises(DataMissingError, match=f"dataset 'mnist' is not in {tmp_path}; ") as missing:
        Mnist().load(tmp_path)
    assert str(missing.value).endswith(f": synflow-bench data download mnist --data {tmp_path}")


def test_the_command_does_not_name_the_default_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNFLOW_BENCH_DATA", str(tmp_path))
    with pytest.raises(DataMissingError, match=r": synflow-bench data download mnist$"):
        Mnist().load(tmp_path)


def test_an_error_for_missing_fashion_mnist_names_the_debian_package_too(tmp_path: Path) -> None:
    with pytest.raises(DataMissingError, match=r"\(or: apt-get install dataset-fashion-mnist\)$"):
        SmallFashionMnist().load(tmp_path)


@pytest.mark.parametrize("file", FILES)
def test_one_missing_file_is_enough_to_be_missing(file: str, tmp_path: Path) -> None:
    (write(tmp_path) / file).unlink()
    assert not SmallMnist().present(tmp_path)
    with pytest.raises(DataMissingError):
        SmallMnist().load(tmp_path)


def test_fashion_mnist_is_found_where_the_package_puts_it(tmp_path: Path) -> None:
    class Packaged(SmallFashionMnist):
        elsewhere = write(tmp_path / "package", SmallFashionMnist(), gzipped=True)

    assert Packaged().present(tmp_path)
    check(Packaged(), tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        (IMAGES, idx(arrays()[IMAGES])[:-1], "holds 15679 bytes where its header says 15680"),
        (IMAGES, idx(arrays()[IMAGES]) + b"x", "holds 15681 bytes where its header says 15680"),
        (IMAGES, b"", "is not an idx file of bytes in 3 dimensions"),
        (IMAGES, idx(arrays()[IMAGES])[:6], "is not an idx file of bytes in 3 dimensions"),
        (
            IMAGES,
            b"\x00\x00\x0d\x03" + idx(arrays()[IMAGES])[4:],
            "is not an idx file of bytes in 3 dimensions",
        ),
        (IMAGES, idx(arrays()[LABELS]), "is not an idx file of bytes in 3 dimensions"),
        (IMAGES, idx(arrays()[IMAGES][1:]), "holds 19x28x28 bytes instead of 20x28x28"),
        (IMAGES, idx(arrays()[IMAGES][..., 1:]), "holds 20x28x27 bytes instead of 20x28x28"),
        (LABELS, idx(arrays()[LABELS][1:]), "holds 19 bytes instead of 20"),
        (LABELS, idx(arrays()[LABELS] + 10), "has label 19 of 10 classes"),
    ],
)
def test_the_error_for_a_damaged_file_names_it_the_reason_and_the_way_out(
    file: str, content: bytes, reason: str, tmp_path: Path
) -> None:
    path = write(tmp_path) / file
    path.write_bytes(content)
    with pytest.raises(DataError, match="dataset 'mnist' is damaged") as damaged:
        SmallMnist().load(tmp_path)
    assert f"{path} {reason}; " in str(damaged.value)
    assert str(damaged.value).endswith(f": synflow-bench data download mnist --data {tmp_path}")


@pytest.mark.parametrize("content", [b"", b"no gzip", gzip.compress(idx(arrays()[IMAGES]))[:200]])
def test_the_error_for_a_damaged_gzip_file_names_it(content: bytes, tmp_path: Path) -> None:
    path = write(tmp_path, gzipped=True) / f"{IMAGES}.gz"
    path.write_bytes(content)
    with pytest.raises(
        DataError, match=r"train-images-idx3-ubyte.gz is not (a complete gzip file|an idx file)"
    ):
        SmallMnist().load(tmp_path)


def test_a_gzip_file_that_unpacks_to_gigabytes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synflow_bench_datasets.mnist.LARGEST", 2**22)
    path = write(tmp_path, gzipped=True) / f"{IMAGES}.gz"
    path.write_bytes(gzip.compress(bytes(2**24)))
    with pytest.raises(DataError, match="holds more than 4194304 bytes"):
        SmallMnist().load(tmp_path)


@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize("file", FILES)
def test_a_file_with_another_sha256_is_not_the_published_one(
    file: str, gzipped: bool, tmp_path: Path
) -> None:
    class Checked(SmallMnist):
        checksums = tuple(hashlib.sha256(idx(arrays()[name])).hexdigest() for name in FILES)

    folder = write(tmp_path, gzipped=gzipped)
    check(Checked(), tmp_path)
    content = idx(np.zeros_like(arrays()[file]))
    path = folder / (f"{file}.gz" if gzipped else file)
    path.write_bytes(gzip.compress(content) if gzipped else content)
    with pytest.raises(DataError, match=f"{path} is not the published file: its sha256 differs; "):
        Checked().load(tmp_path)


def test_a_flipped_bit_in_a_gzip_file_is_detected(tmp_path: Path) -> None:
    path = write(tmp_path, gzipped=True) / f"{IMAGES}.gz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="is not a complete gzip file"):
        SmallMnist().load(tmp_path)


def test_the_way_out_for_a_damaged_file_of_the_package_is_to_reinstall_it(tmp_path: Path) -> None:
    class Packaged(SmallFashionMnist):
        elsewhere = write(tmp_path / "package", SmallFashionMnist())

    (tmp_path / "package" / "fashion-mnist" / "FashionMNIST" / "raw" / IMAGES).write_bytes(b"")
    with pytest.raises(
        DataError, match=r"install it again: apt-get install --reinstall dataset-fashion-mnist$"
    ):
        Packaged().load(tmp_path / "root")


@pytest.fixture
def served(server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder from which torchvision downloads the small MNIST."""
    folder, address = server
    files = {f"{file}.gz": gzip.compress(idx(array)) for file, array in arrays().items()}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    checked = [
        (name, hashlib.md5(content, usedforsecurity=False).hexdigest()) for name, content in files.items()
    ]
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [address])
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", checked)
    return folder


def test_downloads_into_a_new_folder(served: Path, tmp_path: Path) -> None:
    root = tmp_path / "not" / "yet" / "made"
    SmallMnist().load(root, download=True)
    check(SmallMnist(), root)
    assert sorted(path.name for path in root.rglob("*") if path.is_file()) == sorted(FILES)
    assert [path.name for path in root.iterdir()] == ["mnist"]


def test_existing_files_are_not_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    monkeypatch.setattr(SmallMnist, "fetch", lambda self, root: pytest.fail("downloads"))
    SmallMnist().load(tmp_path, download=True)


def test_a_deleted_file_is_downloaded_again(served: Path, tmp_path: Path) -> None:
    (write(tmp_path) / IMAGES).unlink()
    SmallMnist().load(tmp_path, download=True)
    check(SmallMnist(), tmp_path)


@pytest.mark.parametrize("file", FILES)
def test_an_incomplete_download_leaves_nothing(file: str, served: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (served / f"{file}.gz.broken").touch()
    with pytest.raises(
        DataError, match=r"could not download 'mnist': .*try again: synflow-bench data download mnist"
    ):
        SmallMnist().load(root, download=True)
    assert not list(root.iterdir())


def test_an_interrupted_download_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(root: Path, *, train: bool, download: bool) -> None:
        fill(root / "MNIST" / "raw")
        raise KeyboardInterrupt

    monkeypatch.setattr(torchvision.datasets, "MNIST", interrupted)
    with pytest.raises(KeyboardInterrupt):
        SmallMnist().load(tmp_path, download=True)
    assert not SmallMnist().present(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_failed_download_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", ["http://127.0.0.1:1/", "http://127.0.0.1:2/"])
    with pytest.raises(DataError, match=r"^could not download 'mnist': .*refused.*; try again: ") as failed:
        SmallMnist().load(tmp_path / "root", download=True)
    assert "\n" not in str(failed.value)


def test_a_data_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"could not download 'mnist': .*Not a directory"):
        SmallMnist().load(tmp_path / "file" / "root", download=True)


debian = pytest.mark.skipif(
    not FashionMnist().present(Path("nowhere")),
    reason="the Debian package dataset-fashion-mnist is not installed",
)


@debian
def test_the_real_fashion_mnist_has_the_declared_mean_deviation_and_classes() -> None:
    splits = FashionMnist().load(Path("nowhere"))
    pixels = splits.train.images.to(torch.float64) / 255
    assert pixels.mean().item() == pytest.approx(FashionMnist.mean[0], abs=5e-5)
    assert pixels.std(correction=0).item() == pytest.approx(FashionMnist.std[0], abs=5e-5)
    assert torch.bincount(splits.train.labels).tolist() == [6000] * 10
    assert torch.bincount(splits.test.labels).tolist() == [1000] * 10
