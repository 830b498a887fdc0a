"""The digits of scikit-learn, as bytes, in a fixed split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from synflow_bench import Splits
from synflow_bench_datasets.digits import Digits


@pytest.fixture(scope="module")
def splits() -> Splits:
    return Digits().load(Path("nowhere"))


def test_is_always_present(tmp_path: Path) -> None:
    assert Digits().present(tmp_path / "nowhere")


def test_has_the_declared_sizes_shapes_and_types(splits: Splits) -> None:
    assert (len(splits.train), len(splits.test)) == Digits.sizes
    for split in (splits.train, splits.test):
        assert split.images.shape == (len(split), *Digits.input_shape)
        assert (split.images.dtype, split.labels.dtype) == (torch.uint8, torch.int64)


def test_the_third_scan_of_a_class_and_each_fifth_after_it_are_for_testing(splits: Splits) -> None:
    scans = load_digits()
    of_class = {label: np.flatnonzero(scans.target == label) for label in range(10)}
    testing = sorted(index for indices in of_class.values() for index in indices[2::5])
    training = sorted(set(range(len(scans.target))) - set(testing))
    for split, indices in ((splits.train, training), (splits.test, testing)):
        gray = np.rint(scans.images[indices] * 255 / 16)
        assert np.array_equal(split.images[:, 0].numpy(), gray)
        assert np.array_equal(split.labels.numpy(), scans.target[indices])


def test_gray_levels_span_all_bytes_in_seventeen_steps(splits: Splits) -> None:
    levels = set(torch.cat([splits.train.images, splits.test.images]).flatten().tolist())
    assert levels == {round(255 * level / 16) for level in range(17)}


def test_both_splits_have_the_same_class_proportions(splits: Splits) -> None:
    train, test = (torch.bincount(split.labels, minlength=10) for split in (splits.train, splits.test))
    assert ((test / (train + test) - 0.2).abs() < 0.005).all()


def test_declared_mean_and_deviation_are_those_of_the_training_images(splits: Splits) -> None:
    pixels = splits.train.images.to(torch.float64) / 255
    assert pixels.mean().item() == pytest.approx(Digits.mean[0], abs=5e-5)
    assert pixels.std(correction=0).item() == pytest.approx(Digits.std[0], abs=5e-5)


def test_two_loads_are_equal(splits: Splits) -> None:
    again = Digits().load(Path("elsewhere"), download=True)
    assert torch.equal(again.train.images, splits.train.images)
    assert torch.equal(again.test.labels, splits.test.labels)
