"""Streamed examples: the same batches from any number of data workers, and the same as resident ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from synflow_bench.data import Augmentation, Dataset, Split, Splits, StreamedSplit
from synflow_bench.errors import DataError, UsageError
from synflow_bench.suites import Recipe
from synflow_bench.training import (
    DATA_WORKERS_VARIABLE,
    LoadedData,
    Streams,
    Training,
    TrainingData,
    balanced_examples,
    can_batch,
    train,
)
from synflow_bench.training.streamed import DataWorkers, data_worker_count

CPU = torch.device("cpu")
TRAIN, TEST, CLASSES = 41, 12, 4
CHANGE = Augmentation(jitter=0.1)


def image_of(item: str) -> Tensor:
    draw = torch.Generator().manual_seed(int(item.removeprefix("photo-")))
    return torch.randint(256, (1, 4, 4), generator=draw).to(torch.uint8)


def read(item: str, *, augmented: bool) -> Tensor:
    if item == "broken":
        raise DataError("broken is damaged")
    if item == "wide":
        return torch.zeros(1, 4, 5, dtype=torch.uint8)
    noise = torch.randint(16, (1, 4, 4), dtype=torch.uint8) if augmented else 0
    return image_of(item) // 2 + noise


class Photographs(Dataset):
    input_shape: ClassVar[tuple[int, int, int]] = (1, 4, 4)
    num_classes: ClassVar[int] = CLASSES
    sizes: ClassVar[tuple[int, int]] = (TRAIN, TEST)
    mean: ClassVar[tuple[float, ...]] = (0.25,)
    std: ClassVar[tuple[float, ...]] = (0.2,)
    augmentation: ClassVar[Augmentation | None] = CHANGE
    streamed: ClassVar[bool] = True

    def present(self, root: Path) -> bool:
        return True

    def load(self, root: Path, *, download: bool = False) -> Splits:
        return Splits(self.split(0, TRAIN), self.split(TRAIN, TEST))

    def split(self, first: int, count: int) -> Split | StreamedSplit:
        items, labels = [f"photo-{first + i}" for i in range(count)], torch.arange(count) % CLASSES
        if self.streamed:
            return StreamedSplit(items, labels, read)
        return Split(torch.stack([read(item, augmented=False) for item in items]), labels)


class InMemory(Photographs):
    augmentation = None
    streamed = False


@pytest.fixture(autouse=True)
def _one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATA_WORKERS_VARIABLE, "0")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def epoch(data: LoadedData, change: Augmentation | None, seed: int = 0) -> tuple[Tensor, Tensor]:
    order = torch.randperm(TRAIN, generator=generator(7))
    batches = list(data.train.shuffled(8, order, change, generator(seed)))
    assert [len(labels) for _, labels in batches] == [8] * 5, "the 41st would be a batch of one"
    inputs, labels = zip(*batches, strict=True)
    return torch.cat(inputs), torch.cat(labels)


def test_unaugmented_batches_are_those_of_resident_data() -> None:
    streamed, resident = (LoadedData.load(kind(), Path(), CPU) for kind in (Photographs, InMemory))
    for one, other in zip(epoch(streamed, None), epoch(resident, None), strict=True):
        assert torch.equal(one, other)
    pairs = zip(streamed.test.batches(5), resident.test.batches(5), strict=True)
    assert all(torch.equal(a, b) and torch.equal(c, d) for (a, c), (b, d) in pairs)
    for one, other in zip(
        balanced_examples(streamed.train, CLASSES, 3, generator()),
        balanced_examples(resident.train, CLASSES, 3, generator()),
        strict=True,
    ):
        assert torch.equal(one, other)
    (training, validation), (also, _) = (data.divide(0.2, generator()) for data in (streamed, resident))
    assert torch.equal(training.labels, also.labels)
    assert validation is not None
    assert (len(training), len(validation), training.shape) == (33, 8, (1, 4, 4))


def test_augmentation_is_drawn_anew_for_every_example_and_epoch() -> None:
    data = LoadedData.load(Photographs(), Path(), CPU)
    first, again, other = (epoch(data, CHANGE, seed)[0] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    noise = first - epoch(data, None)[0]
    assert len(noise.flatten(1).unique(dim=0)) == len(noise)


def test_reading_leaves_the_global_generator_alone() -> None:
    data = LoadedData.load(Photographs(), Path(), CPU)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    epoch(data, CHANGE)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("count", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_processes_give_what_this_one_gives(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    here = LoadedData.load(Photographs(), Path(), CPU)
    monkeypatch.setenv(DATA_WORKERS_VARIABLE, str(count))
    there = LoadedData.load(Photographs(), Path(), CPU)
    state = torch.get_rng_state()
    for seed in (0, 1):
        assert torch.equal(epoch(there, CHANGE, seed)[0], epoch(here, CHANGE, seed)[0])
    next(iter(there.train.batches(4)))  # one that is not finished
    assert torch.equal(next(there.test.batches(12))[0], next(here.test.batches(12))[0])
    assert torch.equal(torch.get_rng_state(), state)


def test_as_many_processes_as_are_asked_for_are_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATA_WORKERS_VARIABLE, "2")
    monkeypatch.setattr("torch._utils.cpu_count", lambda: 1)
    monkeypatch.setattr("torch.utils.data.dataloader._MultiProcessingDataLoaderIter", lambda _: iter(()))
    assert list(DataWorkers(read, (1, 4, 4), CPU).images([])) == []


def test_training_on_streamed_examples_learns_what_resident_ones_teach() -> None:
    results = []
    for kind in (Photographs, InMemory):
        data = LoadedData.load(kind(), Path(), CPU)
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, CLASSES))
        recipe = Recipe(epochs=2, lr=0.05, batch_size=8, augment=False)
        examples = TrainingData(data.train, None, data.test, data.augmentation)
        results.append(train(Training(model, {}, recipe, examples, Streams(generator(1), generator(2)))))
    assert results[0].curve == results[1].curve


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ("broken", "^broken is damaged$"),
        ("wide", r"wide is read as torch.uint8 of \(1, 4, 5\); the dataset declares uint8 of \(1, 4, 4\)"),
    ],
)
def test_an_example_that_cannot_be_used_is_one_line(item: str, says: str) -> None:
    class Spoilt(Photographs):
        def load(self, root: Path, *, download: bool = False) -> Splits:
            split = StreamedSplit(["photo-1", item], torch.tensor([0, 1]), read)
            return Splits(split, split)

    data = LoadedData.load(Spoilt(), Path(), CPU)
    with pytest.raises(DataError, match=says):
        list(data.test.batches(2))


def test_trainings_share_a_pass_over_resident_examples_only() -> None:
    streamed, resident = (LoadedData.load(kind(), Path(), CPU).train for kind in (Photographs, InMemory))
    assert (streamed.resident, resident.resident) == (False, True)
    model, recipe = nn.Sequential(nn.Flatten(), nn.Linear(16, CLASSES)), Recipe(epochs=1, batch_size=8)
    streams = Streams(generator(1), generator(2))
    assert not can_batch(Training(model, {}, recipe, TrainingData(streamed, None, streamed, None), streams))


def test_two_passes_at_a_time_are_refused() -> None:
    data = LoadedData.load(Photographs(), Path(), CPU)
    first = data.train.batches(4)
    next(first)
    next(data.test.batches(4))
    with pytest.raises(RuntimeError, match="another pass over the streamed data has begun"):
        next(first)


def test_labels_are_checked_without_reading_an_image() -> None:
    class Wrong(Photographs):
        def load(self, root: Path, *, download: bool = False) -> Splits:
            split = StreamedSplit(["broken"], torch.tensor([CLASSES]), read)
            return Splits(split, split)

    with pytest.raises(DataError, match=f"one label below {CLASSES} for every image"):
        LoadedData.load(Wrong(), Path(), CPU)


def test_resident_images_are_not_given_the_changes_of_photographs() -> None:
    class Resident(InMemory):
        augmentation = CHANGE

    with pytest.raises(DataError, match="only streamed images can have them"):
        LoadedData.load(Resident(), Path(), CPU)


def test_the_number_of_processes_is_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATA_WORKERS_VARIABLE, "3")
    assert data_worker_count() == 3
    monkeypatch.delenv(DATA_WORKERS_VARIABLE)
    assert data_worker_count() >= 1
    monkeypatch.setenv(DATA_WORKERS_VARIABLE, "many")
    with pytest.raises(UsageError, match="SYNFLOW_BENCH_DATA_WORKERS='many'"):
        data_worker_count()


PHOTOS = """
import torch

def read(item, *, augmented):
    return torch.full((1, 4, 4), int(item), dtype=torch.uint8)
"""
SCRIPT = """
import torch
from photos import read
from synflow_bench.training.streamed import DataWorkers

print("the script runs")
for images in DataWorkers(read, (1, 4, 4), torch.device("cpu")).images([[("3", None)], [("7", None)]]):
    print(int(images[0, 0, 0, 0]))
"""
"""A program without a `__main__` guard."""


def test_data_workers_do_not_run_the_users_script_again(tmp_path: Path) -> None:
    (tmp_path / "photos.py").write_text(PHOTOS)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, DATA_WORKERS_VARIABLE: "1"}
    command = [sys.executable, str(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert (done.stdout, done.stderr) == ("the script runs\n3\n7\n", "")
