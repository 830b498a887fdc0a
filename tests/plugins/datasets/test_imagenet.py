"""ImageNet, from small trees of real JPEGs in the expected layout."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from synflow_bench import StreamedSplit
from synflow_bench.errors import DataError, DataMissingError
from synflow_bench.training import DATA_WORKERS_VARIABLE, LoadedData
from synflow_bench_datasets.imagenet import Imagenet, ReadPhotograph

CLASSES = ["n01440764", "n01443537", "n01484850"]
TRAIN, VAL = 4, 2
Paint = Callable[..., Path]


class Small(Imagenet):
    num_classes = len(CLASSES)
    sizes = (len(CLASSES) * TRAIN, len(CLASSES) * VAL)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, paint: Paint) -> Path:
    """`<root>/imagenet` with photographs of several sizes, one of them gray and one CMYK."""
    home = tmp_path_factory.mktemp("root") / "imagenet"
    for label in CLASSES:
        for i in range(TRAIN):
            mode = {1: "L", 2: "CMYK"}.get(i, "RGB")
            paint(home / "train" / label / f"{label}_{i}.JPEG", (300 + 40 * i, 375), mode)
        for i in range(VAL):
            paint(home / "val" / label / f"ILSVRC2012_val_{label}{i}.JPEG", (500, 375))
    return home


def train_of(root: Path) -> StreamedSplit:
    split = Small().load(root).train
    assert isinstance(split, StreamedSplit)
    return split


def test_lists_every_photograph_with_the_class_of_its_folder(home: Path) -> None:
    splits = Small().load(home.parent)
    for split, part, each in ((splits.train, "train", TRAIN), (splits.test, "val", VAL)):
        assert isinstance(split, StreamedSplit)
        assert split.items == [str(path) for path in sorted((home / part).rglob("*.JPEG"))]
        assert split.labels.tolist() == [label for label in range(3) for _ in range(each)]


def test_evaluation_shows_the_center_of_the_image_resized_to_256(home: Path) -> None:
    split = Small().load(home.parent).test
    assert isinstance(split, StreamedSplit)
    image = split.read(split.items[0], augmented=False)
    with Image.open(split.items[0]) as source:
        resized = np.asarray(source.convert("RGB").resize((341, 256), Image.Resampling.BILINEAR))
    left = round((341 - 224) / 2)
    expected = torch.from_numpy(resized[16:240, left : left + 224].copy()).permute(2, 0, 1)
    assert (image.dtype, tuple(image.shape)) == (torch.uint8, (3, 224, 224))
    assert torch.equal(image, expected)


def test_gray_and_printed_photographs_have_three_channels(home: Path) -> None:
    split = train_of(home.parent)
    for item in split.items[:3]:
        assert tuple(split.read(item, augmented=False).shape) == (3, 224, 224)
    gray = split.read(split.items[1], augmented=False)
    assert torch.equal(gray[0], gray[2])


def test_training_images_differ_with_the_generator_and_with_nothing_else(home: Path) -> None:
    split = train_of(home.parent)

    def read(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return split.read(split.items[0], augmented=True)

    assert torch.equal(read(0), read(0))
    assert not torch.equal(read(0), read(1))
    assert tuple(read(2).shape) == (3, 224, 224)


def test_a_fifth_of_the_training_images_lose_their_colors(home: Path) -> None:
    change = Small.augmentation
    assert (change.resized_crop, change.grayscale, change.jitter, change.flip) == ((0.2, 1.0), 0.2, 0.4, True)
    read, item = ReadPhotograph(32, 36, change), train_of(home.parent).items[0]
    torch.manual_seed(0)
    images = [read(item, augmented=True) for _ in range(200)]
    gray = sum(torch.equal(image[0], image[1]) and torch.equal(image[1], image[2]) for image in images)
    assert 20 <= gray <= 60, "binomial with 200 draws of 0.2: 40, give or take 3.5 deviations of 5.7"


def test_the_reader_can_be_pickled_and_is_the_same_for_both_splits(home: Path) -> None:
    splits = Small().load(home.parent)
    assert isinstance(splits.train, StreamedSplit)
    assert isinstance(splits.test, StreamedSplit)
    read = splits.train.read
    read(splits.train.items[0], augmented=True)
    assert pickle.loads(pickle.dumps(read)) == read == splits.test.read  # noqa: S301  our own
    assert hash(read) == hash(splits.test.read)


@pytest.mark.slow
def test_decoder_processes_give_the_images_that_this_one_reads(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_by(decoders: int) -> list[torch.Tensor]:
        monkeypatch.setenv(DATA_WORKERS_VARIABLE, str(decoders))
        data = LoadedData.load(Small(), home.parent, torch.device("cpu"))
        draw = torch.Generator().manual_seed(5)
        order = torch.randperm(len(data.train), generator=draw)
        epochs = (data.train.shuffled(5, order, data.augmentation, draw) for _ in range(2))
        batches = [*chain.from_iterable(epochs), *data.test.batches(4)]
        return [tensor for batch in batches for tensor in batch]

    here, there = read_by(0), read_by(2)
    assert len(here) == len(there) == 2 * (2 * 3 + 2)
    assert all(torch.equal(one, other) for one, other in zip(here, there, strict=True))


def test_the_error_for_a_missing_folder_describes_the_expected_layout(tmp_path: Path) -> None:
    home = tmp_path / "imagenet"
    assert not Imagenet().present(tmp_path)
    with pytest.raises(DataMissingError, match=f"dataset 'imagenet' is not in {tmp_path}; ") as missing:
        Imagenet().load(tmp_path, download=True)
    assert f"put the photographs into {home}/train/CLASS/ and {home}/val/CLASS/" in str(missing.value)


def test_the_error_for_a_missing_val_names_it(home: Path, tmp_path: Path) -> None:
    (tmp_path / "imagenet").mkdir()
    (tmp_path / "imagenet" / "train").symlink_to(home / "train")
    assert not Small().present(tmp_path)
    with pytest.raises(DataMissingError, match=r"/imagenet has no folder 'val'; put the photographs into"):
        Small().load(tmp_path)


def break_tree(home: Path, reason: str) -> None:
    photographs = sorted((home / "val").rglob("*.JPEG"))
    match reason:
        case "val has no class folders; put its images into one folder per class":
            for path in photographs:
                path.rename(home / "val" / path.name)
            for label in CLASSES:
                (home / "val" / label).rmdir()
        case "val has 2 class folders instead of 3":
            shutil.rmtree(home / "val" / CLASSES[0])
        case "val has no folder for class 'n01440764'":
            (home / "val" / CLASSES[0]).rename(home / "val" / "n99")
        case "val holds 5 images instead of 6":
            photographs[0].unlink()
        case "val has no image for the classes n01440764":
            photographs[0].unlink()
            photographs[1].unlink()


@pytest.mark.parametrize(
    "reason",
    [
        "val has no class folders; put its images into one folder per class",
        "val has 2 class folders instead of 3",
        "val has no folder for class 'n01440764'",
        "val holds 5 images instead of 6",
        "val has no image for the classes n01440764",
    ],
)
def test_the_error_for_an_incomplete_tree_is_one_line_with_the_reason(
    reason: str, home: Path, tmp_path: Path
) -> None:
    shutil.copytree(home, tmp_path / "imagenet")
    break_tree(tmp_path / "imagenet", reason)
    with pytest.raises(DataError) as refusal:
        Small().load(tmp_path)
    assert f"dataset 'imagenet' is incomplete: {tmp_path}/imagenet/{reason}" in str(refusal.value)
    assert "CLASS/ with 12 and 6 photographs" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_error_for_a_damaged_photograph_names_it(tmp_path: Path) -> None:
    path = tmp_path / "half.JPEG"
    path.write_bytes(b"\xff\xd8\xff\xe0 half")
    with pytest.raises(DataError, match=r"half\.JPEG is damaged: it cannot be read as an image"):
        ReadPhotograph(32, 36, Small.augmentation)(str(path), augmented=False)
