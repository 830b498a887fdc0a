"""Data on the device: normalised as declared, divided without overlap, balanced for scoring."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from synflow_bench import Dataset, Split, Splits
from synflow_bench.errors import DataError
from synflow_bench.training.data import LoadedData, balanced_examples
from synflow_bench.training.normalisation import Normalisation
from synflow_bench.training.resident import BLOCK, ResidentSplit

MakeSplit = Callable[..., ResidentSplit]
CPU = torch.device("cpu")


class Stripes(Dataset):
    input_shape: ClassVar[tuple[int, int, int]] = (2, 3, 3)
    num_classes: ClassVar[int] = 2
    sizes: ClassVar[tuple[int, int]] = (10, 4)
    mean: ClassVar[tuple[float, ...]] = (0.25, 0.5)
    std: ClassVar[tuple[float, ...]] = (0.5, 0.125)

    def present(self, root: Path) -> bool:
        return True

    def load(self, root: Path, *, download: bool = False) -> Splits:
        return Splits(self.split(10), self.split(4))

    def split(self, count: int) -> Split:
        images = torch.arange(count * 18).remainder(256).to(torch.uint8).view(count, 2, 3, 3)
        return Split(images, torch.arange(count) % 2)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_normalisation_is_pixel_over_255_less_mean_over_std() -> None:
    data = LoadedData.load(Stripes(), Path(), CPU)
    inputs, _ = next(data.train.batches(10))
    pixels = Stripes().split(10).images.double() / 255
    expected = (pixels - torch.tensor([0.25, 0.5]).view(2, 1, 1)) / torch.tensor([0.5, 0.125]).view(2, 1, 1)
    torch.testing.assert_close(inputs.double(), expected, atol=1e-6, rtol=1e-6)
    assert inputs.dtype is torch.float32
    assert data.train.images.dtype is torch.uint8


@pytest.mark.parametrize(
    ("images", "labels", "says"),
    [
        (torch.zeros(4, 2, 3, 3), torch.zeros(4, dtype=torch.int64), r"^it loads torch\.float32 images"),
        (torch.zeros(4, 1, 3, 3, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64), r"\(1, 3, 3\)"),
        (torch.zeros(4, 2, 3, 3, dtype=torch.uint8), torch.full((4,), 2), "^it needs one label below 2 for"),
        (torch.zeros(4, 2, 3, 3, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64), "for every image"),
    ],
)
def test_a_data_set_that_is_not_what_it_declares_is_refused(
    images: torch.Tensor, labels: torch.Tensor, says: str
) -> None:
    class Wrong(Stripes):
        def load(self, root: Path, *, download: bool = False) -> Splits:
            return Splits(Split(images, labels), self.split(4))

    with pytest.raises(DataError, match=says):
        LoadedData.load(Wrong(), Path(), CPU)


def test_validation_is_a_share_of_training_and_shares_no_example_with_it() -> None:
    data = LoadedData.load(Stripes(), Path(), CPU)
    training, validation = data.divide(0.3, generator())
    assert validation is not None
    assert (len(training), len(validation)) == (7, 3)
    every = torch.cat([training.images, validation.images]).flatten(1).unique(dim=0)
    assert torch.equal(every, data.train.images.flatten(1).unique(dim=0))
    again, _ = data.divide(0.3, generator())
    assert torch.equal(again.images, training.images)


def test_without_validation_all_examples_train() -> None:
    data = LoadedData.load(Stripes(), Path(), CPU)
    training, validation = data.divide(0.0, generator())
    assert validation is None
    assert training is data.train


@pytest.mark.parametrize("size", [1000, 64, BLOCK])
def test_an_epoch_shows_every_example_once_in_the_order_given(make_split: MakeSplit, size: int) -> None:
    split = make_split(2 * BLOCK + 70, 0)
    order = torch.randperm(len(split), generator=generator())
    batches = list(split.shuffled(size, order, None, generator()))
    assert torch.equal(torch.cat([labels for _, labels in batches]), split.labels[order])
    assert torch.equal(torch.cat([inputs for inputs, _ in batches]), split.normalise(split.images[order]))
    assert {len(labels) for _, labels in batches[:-1]} <= {size}


def test_a_last_batch_of_one_is_left_out(make_split: MakeSplit) -> None:
    batches = list(make_split(33, 0).shuffled(16, torch.arange(33), None, generator()))
    assert [len(labels) for _, labels in batches] == [16, 16]


def test_scoring_data_has_equally_many_of_every_class_and_no_repeat(make_split: MakeSplit) -> None:
    split = make_split(90, 0)
    inputs, labels = balanced_examples(split, 3, 5, generator())
    assert labels.bincount().tolist() == [5, 5, 5]
    assert len(inputs.flatten(1).unique(dim=0)) == 15
    assert labels[:3].unique().tolist() == [0, 1, 2], "classes are mixed, so that every batch is balanced too"


def test_too_few_examples_of_a_class_is_an_error_that_counts_them(make_split: MakeSplit) -> None:
    with pytest.raises(DataError, match=r"class \d has \d+ training examples, examples_per_class asks 80"):
        balanced_examples(make_split(90, 0), 3, 80, generator())


def test_equal_normalisation_on_every_dtype_path() -> None:
    constant = Normalisation.of(Stripes(), CPU)
    black = constant(torch.zeros(1, 2, 1, 1, dtype=torch.uint8)).flatten().tolist()
    assert black == pytest.approx([-0.5, -4.0])
