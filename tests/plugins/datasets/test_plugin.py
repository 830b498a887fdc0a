"""Every registered dataset: what it declares, without reading the disk and without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import PurePosixPath

import pytest

from synflow_bench import Augmentation
from synflow_bench.host import Host
from synflow_bench_datasets.downloaded import TorchvisionDataset
from synflow_bench_datasets.plugin import synflow_bench_datasets

DOWNLOADED = ["cifar10", "cifar100", "fashion-mnist", "mnist"]
WITH_A_PATH = {"image-folder", "text"}
CROP_AND_FLIP = Augmentation(crop_padding=4, flip=True)
DATASETS = Host.load().datasets
PHOTOGRAPHS = Augmentation(flip=True, resized_crop=(0.2, 1.0), grayscale=0.2, jitter=0.4)


def test_all_datasets_are_registered() -> None:
    assert sorted(synflow_bench_datasets()) == sorted(
        [*DOWNLOADED, "digits", "imagenet", "tiny-imagenet", *WITH_A_PATH]
    )


def test_declarations_and_presence_need_neither_torch_nor_torchvision_nor_scikit_learn(
    tmp_path: object,
) -> None:
    code = f"""
import sys
from importlib import import_module
from pathlib import Path
from synflow_bench_datasets.plugin import synflow_bench_datasets
for reference in synflow_bench_datasets().values():
    module, _, attribute = reference.partition(":")
    dataset = getattr(import_module(module), attribute)()
    if not hasattr(dataset, "fingerprint"):  # those with a path declare when it is known
        dataset.input_shape, dataset.num_classes, dataset.sizes, dataset.mean, dataset.std
    dataset.augmentation
    dataset.present(Path({str(tmp_path)!r}))
sys.exit(str(loaded) if (loaded := {{"torch", "torchvision", "sklearn", "numpy"}} & set(sys.modules)) else 0)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", sorted(synflow_bench_datasets().keys() - WITH_A_PATH))
def test_declares_a_mean_and_a_deviation_for_every_channel(name: str) -> None:
    dataset = DATASETS.get(name)
    assert len(dataset.mean) == len(dataset.std) == dataset.input_shape[0]
    assert dataset.revision == 1


@pytest.mark.parametrize(
    ("name", "shape", "classes", "augmentation"),
    [
        ("digits", (1, 8, 8), 10, None),
        ("mnist", (1, 28, 28), 10, None),
        ("fashion-mnist", (1, 28, 28), 10, None),
        ("cifar10", (3, 32, 32), 10, CROP_AND_FLIP),
        ("cifar100", (3, 32, 32), 100, CROP_AND_FLIP),
        ("tiny-imagenet", (3, 64, 64), 200, CROP_AND_FLIP),
        ("imagenet", (3, 224, 224), 1000, PHOTOGRAPHS),
    ],
)
def test_declares_shape_classes_and_augmentation(
    name: str, shape: tuple[int, int, int], classes: int, augmentation: Augmentation | None
) -> None:
    dataset = DATASETS.get(name)
    assert (dataset.input_shape, dataset.num_classes, dataset.augmentation) == (shape, classes, augmentation)


@pytest.mark.parametrize("name", DOWNLOADED)
def test_name_and_files_are_those_of_torchvision(name: str) -> None:
    dataset = DATASETS.get(name)()
    assert isinstance(dataset, TorchvisionDataset)
    assert dataset.name == name
    source = dataset.torchvision_class()
    if hasattr(source, "resources"):
        folder, files = f"{source.__name__}/raw", [file.removesuffix(".gz") for file, _ in source.resources]
    else:
        folder = source.base_folder
        files = [file for file, _ in (*source.train_list, *source.test_list)] + [source.meta["filename"]]
    assert sorted(dataset.files) == sorted(str(PurePosixPath(folder, file)) for file in files)
