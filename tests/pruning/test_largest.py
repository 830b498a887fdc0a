"""The k largest of many numbers: numpy's path, torch's path and a stable sort agree on every bit."""

from __future__ import annotations

from itertools import pairwise
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from synflow_bench.pruning import _largest
from synflow_bench.pruning._largest import (
    SAMPLE,
    _keep_largest_on_device,
    keep_largest,
    keep_largest_in_memory,
)

MANY = 4 * SAMPLE + 12_345
TIES = (0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45, 1.2e-38, 3e38, -3e38)

NUMBER = st.one_of(st.sampled_from(TIES), st.floats(width=32, allow_nan=False, allow_infinity=False))
ROWS = st.lists(st.lists(NUMBER, min_size=1, max_size=40), min_size=1, max_size=5)


def tensors(rows: list[list[float]]) -> list[Tensor]:
    return [torch.tensor(row, dtype=torch.float32) for row in rows]


def everything(rows: list[Tensor]) -> list[Tensor]:
    return [torch.ones(len(row), dtype=torch.bool) for row in rows]


def naive(rows: list[Tensor], eligible: list[Tensor], k: int) -> Tensor:
    """The first k of a stable sort, largest first, over what is eligible."""
    scores, allowed = torch.cat(rows).tolist(), torch.cat(eligible).tolist()
    places = sorted((i for i in range(len(scores)) if allowed[i]), key=lambda i: -scores[i])
    return torch.zeros(len(scores), dtype=torch.bool).index_fill_(0, torch.tensor(places[:k]).long(), True)


@given(rows=ROWS, data=st.data(), sample=st.sampled_from([1, 2, 5, SAMPLE]))
@settings(max_examples=120, deadline=None)
def test_every_path_keeps_what_a_stable_sort_keeps(
    rows: list[list[float]], data: st.DataObject, sample: int
) -> None:
    scores = tensors(rows)
    eligible = [
        torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(r), max_size=len(r)))) for r in rows
    ]
    k = data.draw(st.integers(0, sum(int(mask.sum()) for mask in eligible)))
    with patch.object(_largest, "SAMPLE", sample):
        kept, threshold = keep_largest(scores, eligible, k)
    on_device, same_threshold = _keep_largest_on_device(scores, eligible, k)
    expected = naive(scores, eligible, k)
    assert torch.equal(torch.cat(kept), expected)
    assert torch.equal(torch.cat(on_device), expected)
    assert threshold == same_threshold == (float(torch.cat(scores)[expected].min()) if k else float("inf"))


@given(rows=ROWS, data=st.data(), low=NUMBER, high=NUMBER)
@settings(max_examples=80, deadline=None)
def test_a_bracket_that_misses_costs_time_and_not_exactness(
    rows: list[list[float]], data: st.DataObject, low: float, high: float
) -> None:
    scores = tensors(rows)
    k = data.draw(st.integers(0, sum(map(len, rows))))
    bounds = (np.float32(min(low, high)), np.float32(max(low, high)))
    with patch.object(_largest, "SAMPLE", 0), patch.object(_largest, "_bracket", return_value=bounds):
        kept, _ = keep_largest(scores, everything(scores), k)
    assert torch.equal(torch.cat(kept), naive(scores, everything(scores), k))


def periodic(generator: np.random.Generator) -> np.ndarray:
    return np.arange(MANY) % 7.0


def one_outlier(generator: np.random.Generator) -> np.ndarray:
    return np.where(np.arange(MANY) == MANY // 2, 3e38, 0.0)


def what_the_sample_sees_is_large(generator: np.random.Generator) -> np.ndarray:
    numbers = generator.random(MANY)
    numbers[np.random.default_rng(0).integers(MANY, size=1 + SAMPLE)] += 10
    return numbers


DATA = {
    "normal": lambda g: g.standard_normal(MANY),
    "constant": lambda g: np.full(MANY, 0.25),
    "two-valued": lambda g: g.integers(2, size=MANY),
    "all but a few zero": lambda g: np.where(g.random(MANY) < 1e-4, g.random(MANY), 0.0),
    "subnormal": lambda g: g.random(MANY) * 1e-42,
    "huge and negative": lambda g: -3e38 * g.random(MANY),
    "sorted": lambda g: np.arange(MANY) / MANY,
    "sorted downwards": lambda g: -np.arange(MANY) / MANY,
    "periodic": periodic,
    "one outlier": one_outlier,
    "misleading sample": what_the_sample_sees_is_large,
}


@pytest.mark.parametrize("name", DATA)
def test_large_rows_are_exact_whatever_a_sample_says_of_them(name: str) -> None:
    numbers = DATA[name](np.random.default_rng(5)).astype(np.float32)
    order = np.argsort(-numbers, kind="stable")
    cuts = [0, 3, MANY // 3, MANY]
    rows = [numbers[start:stop] for start, stop in pairwise(cuts)]
    tensors = [torch.from_numpy(row) for row in rows]
    for k in (1, 40, MANY // 1000, MANY // 2, MANY - 3, MANY):
        expected = np.zeros(MANY, dtype=np.bool_)
        expected[order[:k]] = True
        kept, threshold = keep_largest_in_memory(rows, [np.ones(len(row), dtype=np.bool_) for row in rows], k)
        assert np.array_equal(np.concatenate(kept), expected), k
        assert threshold == numbers[order[k - 1]]
        if k == 40:
            on_device, _ = _keep_largest_on_device(tensors, everything(tensors), k)
            assert np.array_equal(torch.cat(on_device).numpy(), expected), k


def test_what_is_removed_stays_removed_even_where_it_scores_most() -> None:
    row = torch.rand(MANY, generator=torch.Generator().manual_seed(0))
    eligible = row < 0.5
    kept, threshold = keep_largest([row], [eligible], 1000)
    assert int(kept[0].sum()) == 1000
    assert not (kept[0] & ~eligible).any()
    assert threshold == row[eligible].sort(descending=True).values[999]
