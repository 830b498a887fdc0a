"""CIFAR-10 and CIFAR-100, read from small batch files in place of the published ones."""

from __future__ import annotations

import hashlib
import pickle
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.datasets

from synflow_bench import Split
from synflow_bench.errors import DataError, DataMissingError
from synflow_bench_datasets.cifar import Cifar10, Cifar100

TRAIN, TEST = 20, 10
Files = dict[str, Any]
Publish = Callable[[Cifar10, Files], dict[str, bytes]]


class OldPickler(pickle.Pickler):
    """A pickler that writes number types as old NumPy did, with a number where a boolean is expected now."""

    def reducer_override(self, value: Any) -> Any:
        return (np.dtype, (value.str[1:], 0)) if isinstance(value, np.dtype) else NotImplemented


def pickled(value: object) -> bytes:
    file = BytesIO()
    OldPickler(file, protocol=2).dump(value)
    return file.getvalue()


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def batch(n: int, key: str, classes: int, seed: int) -> dict[str, Any]:
    """One batch: rows of 1,024 red, 1,024 green and 1,024 blue bytes, and a list of labels."""
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 256, (n, 3072), np.uint8)
    return {"data": data, key: rng.integers(0, classes, n).tolist()}


def cifar10() -> Files:
    training = {f"data_batch_{i}": batch(TRAIN, "labels", 10, seed=i) for i in range(1, 6)}
    meta = {"label_names": [f"class {i}" for i in range(10)]}
    return {**training, "test_batch": batch(TEST, "labels", 10, seed=6), "batches.meta": meta}


def cifar100() -> Files:
    training, test = (
        batch(n, "fine_labels", 100, seed=n) | {"coarse_labels": [0] * n} for n in (TRAIN, TEST)
    )
    return {"train": training, "test": test, "meta": {"fine_label_names": [f"class {i}" for i in range(100)]}}


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Make torchvision accept these files as the published ones; returns their contents."""

    def publish(dataset: Cifar10, files: Files) -> dict[str, bytes]:
        source = dataset.torchvision_class()
        contents = {name: pickled(value) for name, value in files.items()}
        for attribute in ("train_list", "test_list"):
            checked = [[name, md5(contents[name])] for name, _ in getattr(source, attribute)]
            monkeypatch.setattr(source, attribute, checked)
        monkeypatch.setattr(source, "meta", {**source.meta, "md5": md5(contents[source.meta["filename"]])})
        return contents

    return publish


@pytest.fixture
def folder(publish: Publish, tmp_path: Path) -> Path:
    """The folder of a small CIFAR-10 below `tmp_path`."""
    folder = tmp_path / "cifar10" / "cifar-10-batches-py"
    write(folder, publish(Cifar10(), cifar10()))
    return folder


def write(folder: Path, contents: dict[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)


def check(split: Split, batches: list[Files], key: str) -> None:
    rows = np.concatenate([batch["data"] for batch in batches])
    assert (split.images.dtype, split.labels.dtype) == (torch.uint8, torch.int64)
    assert split.images.is_contiguous()
    assert np.array_equal(split.images.numpy(), rows.reshape(-1, 3, 32, 32))
    assert split.labels.tolist() == [label for batch in batches for label in batch[key]]


def test_reads_cifar10_in_the_order_of_its_batches(folder: Path, tmp_path: Path) -> None:
    assert Cifar10().present(tmp_path)
    splits, files = Cifar10().load(tmp_path), cifar10()
    check(splits.train, [files[f"data_batch_{i}"] for i in range(1, 6)], "labels")
    check(splits.test, [files["test_batch"]], "labels")


def test_reads_the_fine_labels_of_cifar100(publish: Publish, tmp_path: Path) -> None:
    assert not Cifar100().present(tmp_path)
    write(tmp_path / "cifar100" / "cifar-100-python", publish(Cifar100(), cifar100()))
    splits, files = Cifar100().load(tmp_path), cifar100()
    check(splits.train, [files["train"]], "fine_labels")
    check(splits.test, [files["test"]], "fine_labels")


@pytest.mark.parametrize("dataset", [Cifar10(), Cifar100()])
def test_an_error_for_missing_files_has_the_command_that_downloads_them(
    dataset: Cifar10, tmp_path: Path
) -> None:
    with pytest.raises(DataMissingError, match=f"dataset {dataset.name!r} is not in") as missing:
        dataset.load(tmp_path)
    assert str(missing.value).endswith(f": synflow-bench data download {dataset.name} --data {tmp_path}")


@pytest.mark.parametrize("file", Cifar10.files)
def test_one_missing_file_is_enough_to_be_missing(file: str, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cifar10" / file).unlink()
    assert not Cifar10().present(tmp_path)
    with pytest.raises(DataMissingError):
        Cifar10().load(tmp_path)


@pytest.mark.parametrize("file", Cifar10.files)
def test_the_error_for_a_damaged_file_names_it_and_the_way_out(
    file: str, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "cifar10" / file
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="dataset 'cifar10' is damaged") as damaged:
        Cifar10().load(tmp_path)
    assert f"{path} is not the published file" in str(damaged.value)
    assert str(damaged.value).endswith(f": synflow-bench data download cifar10 --data {tmp_path}")


def test_a_foreign_pickle_is_not_opened(folder: Path, tmp_path: Path) -> None:
    (folder / "test_batch").write_bytes(b"cos\nabort\n(tR.")
    with pytest.raises(DataError, match="test_batch is not the published file"):
        Cifar10().load(tmp_path)


def test_downloads_and_unpacks(
    server: tuple[Path, str], publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = serve(server, publish, monkeypatch)
    root = tmp_path / "root"
    splits = Cifar10().load(root, download=True)
    check(splits.test, [cifar10()["test_batch"]], "labels")
    assert [path.name for path in root.iterdir()] == ["cifar10"]
    assert not list(root.rglob(archive.name))


def test_an_incomplete_download_leaves_nothing(
    server: tuple[Path, str], publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = serve(server, publish, monkeypatch)
    archive.with_name(f"{archive.name}.broken").touch()
    with pytest.raises(DataError, match=r"could not download 'cifar10': .*corrupted"):
        Cifar10().load(tmp_path / "root", download=True)
    assert not list((tmp_path / "root").iterdir())


def serve(server: tuple[Path, str], publish: Publish, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let torchvision download the archive of a small CIFAR-10; returns that archive."""
    folder, address = server
    source = torchvision.datasets.CIFAR10
    archive = folder / str(source.filename)
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in publish(Cifar10(), cifar10()).items():
            member = tarfile.TarInfo(f"{source.base_folder}/{name}")
            member.size = len(content)
            tar.addfile(member, BytesIO(content))
    monkeypatch.setattr(source, "url", address + source.filename)
    monkeypatch.setattr(source, "tgz_md5", md5(archive.read_bytes()))
    return archive
