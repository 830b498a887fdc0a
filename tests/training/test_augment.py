"""Augmentation of a whole batch equals the same crops and flips made one image at a time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as reference

from synflow_bench.data import Augmentation
from synflow_bench.training.augment import augment


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
