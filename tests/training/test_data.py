"""Data on the device: normalized as declared, divided without overlap, balanced, and augmented in batches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as reference

from synflow_bench import Dataset, Split, Splits
from synflow_bench.data import Augmentation
from synflow_bench.errors import DataError
from synflow_bench.training import (
    LoadedData,
    Normalization,
    ResidentSplit,
    balanced_examples,
    blank_input,
    is_tokens,
    random_examples,
)
from synflow_bench.training.data import BLOCK, NORMALIZED, augment

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


def test_normalization_is_pixel_over_255_less_mean_over_std() -> None:
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
        (torch.zeros(4, 2, 3, 3), torch.zeros(4, dtype=torch.int64), "float32 of shape"),
        (torch.zeros(4, 1, 3, 3, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64), r"\(4, 1, 3, 3\)"),
        (torch.zeros(4, 2, 3, 3, dtype=torch.uint8), torch.full((4,), 2), "one label below 2"),
        (
            torch.zeros(4, 2, 3, 3, dtype=torch.uint8),
            torch.zeros(3, dtype=torch.int64),
            "4 images and 3 labels",
        ),
    ],
)
def test_a_dataset_that_is_not_what_it_declares_is_refused(
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
    assert torch.equal(torch.cat([inputs for inputs, _ in batches]), split.normalize(split.images[order]))
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
    with pytest.raises(DataError, match=r"class \d has \d+ training examples; examples_per_class is 80"):
        balanced_examples(make_split(90, 0), 3, 80, generator())


def test_more_random_examples_than_there_are_is_an_error_as_with_balanced_ones(
    make_split: MakeSplit,
) -> None:
    split = make_split(90, 0)
    assert len(random_examples(split, 90, generator())[1]) == 90
    with pytest.raises(DataError, match="91 scoring examples are wanted and there are 90"):
        random_examples(split, 91, generator())


def test_equal_normalization_on_every_dtype_path() -> None:
    constant = Normalization.of(Stripes(), CPU)
    black = constant(torch.zeros(1, 2, 1, 1, dtype=torch.uint8)).flatten().tolist()
    assert black == pytest.approx([-0.5, -4.0])


def images(count: int, height: int, width: int) -> torch.Tensor:
    size = count * 3 * height * width
    return torch.arange(size).remainder(251).to(torch.uint8).view(count, 3, height, width) + 1


@given(
    count=st.integers(1, 6), height=st.integers(2, 6), width=st.integers(2, 6),
    padding=st.integers(0, 4), flip=st.booleans(), seed=st.integers(0, 1000),
)  # fmt: skip
def test_each_image_is_one_of_its_padded_crops_flipped_or_not(
    count: int, height: int, width: int, padding: int, flip: bool, seed: int
) -> None:
    batch = images(count, height, width)
    changed = augment(batch, Augmentation(padding, flip), torch.Generator().manual_seed(seed))
    assert changed.shape == batch.shape
    assert changed.dtype is torch.uint8
    for before, after in zip(batch, changed, strict=True):
        padded = reference.pad(before, [padding] * 4)
        crops = [
            reference.crop(padded, top, left, height, width)
            for top in range(2 * padding + 1)
            for left in range(2 * padding + 1)
        ]
        if flip:
            crops += [reference.horizontal_flip(crop) for crop in crops]
        assert any(torch.equal(after, crop) for crop in crops)


def test_every_offset_is_drawn_equally_often_and_half_are_flipped() -> None:
    count, padding = 20_000, 1
    image = torch.zeros(1, 1, 3, 3, dtype=torch.uint8)
    image[..., 1, 0] = 1
    changed = augment(
        image.expand(count, 1, 3, 3), Augmentation(padding, True), torch.Generator().manual_seed(0)
    )
    shown = changed.view(count, 9)
    rows = [int(shown[:, 3 * row : 3 * row + 3].sum()) for row in range(3)]
    # The lit pixel leaves the crop to one side in a third of the draws; elsewhere rows are equally likely.
    assert rows == pytest.approx([count * 2 / 9] * 3, rel=0.06)
    columns = [int(shown[:, column::3].sum()) for column in range(3)]
    assert columns == pytest.approx([count / 6, count / 3, count / 6], rel=0.06)


def test_draws_come_from_the_generator_alone() -> None:
    batch = images(8, 5, 5)
    change = Augmentation(2, True)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = augment(batch, change, torch.Generator().manual_seed(7))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first, augment(batch, change, torch.Generator().manual_seed(7)))
    assert not torch.equal(first, augment(batch, change, torch.Generator().manual_seed(8)))


class Words(Dataset):
    input_shape: ClassVar[tuple[int, ...]] = (4,)
    num_classes: ClassVar[int] = 3
    sizes: ClassVar[tuple[int, int]] = (20, 5)

    def present(self, root: Path) -> bool:
        return True

    def load(self, root: Path, *, download: bool = False) -> Splits:
        return Splits(self.split(20), self.split(5))

    def split(self, count: int) -> Split:
        tokens = torch.arange(count * 4).view(count, 4) % 3
        return Split(tokens, torch.zeros(count, dtype=torch.int64))


@pytest.mark.parametrize("change", [None, Augmentation(1, flip=True)])
def test_how_many_are_normalized_at_once_changes_nothing(
    make_split: MakeSplit, change: Augmentation | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    split, order = make_split(700, 0), torch.randperm(700)

    def batches() -> list[torch.Tensor]:
        draw = torch.Generator().manual_seed(1)
        return [inputs for inputs, _ in split.shuffled(16, order, change, draw)]

    few = batches()
    monkeypatch.setitem(NORMALIZED, "cpu", BLOCK)
    assert all(torch.equal(a, b) for a, b in zip(few, batches(), strict=True))


@pytest.mark.parametrize(("device", "contiguous"), [("cpu", False), ("meta", True)])
def test_other_devices_than_a_cpu_get_augmented_images_with_channels_first(
    make_split: MakeSplit, device: str, contiguous: bool
) -> None:
    split = make_split(40, 0, channels=3)
    normalization = Normalization(*(getattr(split.normalize, name).to(device) for name in ("scale", "shift")))
    moved = ResidentSplit(split.stored.to(device), split.labels.to(device), normalization)
    batches = moved.shuffled(16, torch.arange(40), Augmentation(1, flip=True), torch.Generator())
    assert {inputs.is_contiguous() for inputs, _ in batches} == {contiguous}


def test_tokens_are_neither_normalized_nor_augmented() -> None:
    data = LoadedData.load(Words(), Path(), CPU)
    tokens = Words().split(20).images
    order = torch.randperm(20, generator=generator())
    inputs = torch.cat([inputs for inputs, _ in data.train.shuffled(8, order, None, generator())])
    assert inputs.dtype is torch.int64
    assert torch.equal(inputs, tokens[order])
    assert torch.equal(data.train.take(order[:3]).inputs(torch.tensor([2, 0])), tokens[order[[2, 0]]])


@pytest.mark.parametrize(("per_class", "drawn"), [(2, 6), (10, 20)])
def test_sequences_for_scores_are_drawn_from_all(per_class: int, drawn: int) -> None:
    data = LoadedData.load(Words(), Path(), CPU)
    inputs, labels = balanced_examples(data.train, 3, per_class, generator())
    assert inputs.shape == (drawn, 4)
    assert labels.shape == (drawn,)
    assert not torch.equal(inputs, Words().split(drawn).images)


@pytest.mark.parametrize("wrong", [-1, 3])
def test_a_token_beyond_the_classes_is_refused(wrong: int) -> None:
    class Wrong(Words):
        def split(self, count: int) -> Split:
            split = super().split(count)
            split.images[2, 1] = wrong
            return split

    with pytest.raises(DataError, match="from 0 to 2"):
        LoadedData.load(Wrong(), Path(), CPU)


def test_tokens_with_an_augmentation_are_refused() -> None:
    class Wrong(Words):
        augmentation = Augmentation(flip=True)

    with pytest.raises(DataError, match="augmentation"):
        LoadedData.load(Wrong(), Path(), CPU)


@pytest.mark.parametrize(("shape", "dtype"), [((5,), torch.int64), ((1, 2, 3), torch.float32)])
def test_a_blank_input_has_the_type_of_its_shape(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    blank = blank_input(shape)
    assert (blank.shape, blank.dtype) == ((1, *shape), dtype)
    assert is_tokens(shape) == (dtype is torch.int64)
