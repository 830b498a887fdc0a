"""Masks from scores: exactly k weights, ties by index, and nothing comes back."""

from __future__ import annotations

import math
from itertools import pairwise
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from synflow_bench.errors import UsageError
from synflow_bench.pruning import Masks, apportion, kept_count, select, selection
from synflow_bench.pruning.selection import SAMPLE, keep_largest, keep_largest_on_device
from synflow_bench.suites import Scope

SCOPES: list[Scope] = ["global", "local"]
VALUES = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 1e-45, 1e-39, 3e38, -3e38]),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
)
LAYERS = st.lists(st.lists(VALUES, min_size=1, max_size=30), min_size=1, max_size=5)
SIZES = st.lists(st.integers(1, 500), min_size=1, max_size=8)
DENSITIES = st.floats(1e-3, 1.0)


def named(layers: list[list[float]]) -> dict[str, Tensor]:
    return {f"layer{i}": torch.tensor(layer, dtype=torch.float32) for i, layer in enumerate(layers)}


def sized(sizes: list[int]) -> dict[str, int]:
    return {f"layer{i}": size for i, size in enumerate(sizes)}


@pytest.mark.parametrize("scope", SCOPES)
@given(layers=LAYERS, share=st.floats(0, 1))
@settings(max_examples=80)
def test_keeps_exactly_round_density_n(layers: list[list[float]], share: float, scope: Scope) -> None:
    scores = named(layers)
    size = sum(map(len, layers))
    density = (1 + share * (size - 1)) / size
    chosen = select(scores, Masks.ones(scores), density, scope)
    assert chosen.masks.kept == round(density * size)
    assert [mask.shape for mask in chosen.masks.values()] == [score.shape for score in scores.values()]


@given(layers=LAYERS, share=st.floats(0, 1))
@settings(max_examples=80)
def test_no_removed_weight_scores_more_than_a_kept_one(layers: list[list[float]], share: float) -> None:
    scores = named(layers)
    size = sum(map(len, layers))
    masks = select(scores, Masks.ones(scores), (1 + share * (size - 1)) / size, "global").masks
    flat, kept = torch.cat(list(scores.values())), torch.cat(list(masks.values()))
    lowest_kept = flat[kept].min()
    assert not (flat[~kept] > lowest_kept).any()
    ties = (flat == lowest_kept).nonzero()
    assert kept[ties].int().diff(dim=0).le(0).all(), "among equals the lower index stays"


@pytest.mark.parametrize("scope", SCOPES)
@given(sizes=SIZES, first=DENSITIES, second=DENSITIES)
@example(sizes=[6, 6, 2], first=11 / 14, second=10 / 14)
@settings(max_examples=80)
def test_what_one_round_removes_the_next_does_not_bring_back(
    sizes: list[int], first: float, second: float, scope: Scope
) -> None:
    generator = torch.Generator().manual_seed(sum(sizes))
    rounds = [{n: torch.rand(s, generator=generator) for n, s in sized(sizes).items()} for _ in range(2)]
    densities = sorted((max(density, 1 / sum(sizes)) for density in (first, second)), reverse=True)
    masks = Masks.ones(rounds[0])
    for scores, density in zip(rounds, densities, strict=True):
        after = select(scores, masks, density, scope).masks
        assert after.kept == kept_count(density, masks.size)
        assert not any((after[name] & ~masks[name]).any() for name in masks)
        masks = after


def test_rounding_gives_no_layer_more_at_a_lower_density() -> None:
    """Largest remainders alone would: 10 of 3 layers of 6, 6 and 2 is 4, 4, 2, and 11 would be 5, 5, 1."""
    sizes = {"a": 6, "b": 6, "c": 2}
    high, low = apportion(sizes, 11 / 14), apportion(sizes, 10 / 14)
    assert (high["c"], low["c"]) == (1, 2)
    assert apportion(sizes, 10 / 14, at_most=high)["c"] == 1
    assert sum(apportion(sizes, 10 / 14, at_most=high).values()) == 10


@given(sizes=SIZES, density=DENSITIES)
def test_apportioning_gives_every_layer_its_share_to_within_one(sizes: list[int], density: float) -> None:
    layers = sized(sizes)
    density = max(density, 1 / sum(sizes))
    kept = apportion(layers, density)
    assert sum(kept.values()) == round(density * sum(sizes))
    assert all(abs(kept[name] - density * size) < 1 for name, size in layers.items())
    assert all(0 <= kept[name] <= size for name, size in layers.items())


def test_local_scope_keeps_each_layer_at_the_density_by_its_own_ranking() -> None:
    scores = {"small": torch.arange(10.0), "large": 1000 + torch.arange(30.0)}
    masks = select(scores, Masks.ones(scores), 0.2, "local").masks
    assert masks.layer_kept == {"small": 2, "large": 6}
    assert masks["small"].tolist() == [False] * 8 + [True] * 2
    assert select(scores, Masks.ones(scores), 0.2, "global").masks.layer_kept == {"small": 0, "large": 8}


def test_the_threshold_is_the_smallest_kept_score() -> None:
    scores = {"a": torch.tensor([5.0, 1.0, 4.0]), "b": torch.tensor([3.0, 2.0])}
    assert select(scores, Masks.ones(scores), 0.6, "global").threshold == 3.0
    assert select(scores, Masks.ones(scores), 0.6, "local").threshold == 3.0
    assert select(scores, Masks.ones(scores), 1.0, "global").threshold == 1.0


def test_scores_of_several_types_are_compared_as_numbers() -> None:
    wide = {"a": torch.tensor([1.0, 1 + 1e-12, 1 + 3e-12], dtype=torch.float64), "b": torch.tensor([1.0])}
    assert select(wide, Masks.ones(wide), 0.5, "global").masks["a"].tolist() == [False, True, True]
    narrow = {"a": torch.tensor([1.0, 3.0]).bfloat16(), "b": torch.tensor([2.0, 4.0]).half()}
    kept = select(narrow, Masks.ones(narrow), 0.5, "global").masks
    assert [mask.tolist() for mask in kept.values()] == [[False, True], [False, True]]


def test_shapes_are_those_of_the_scores_even_where_memory_is_not_contiguous() -> None:
    score = torch.arange(6.0).view(2, 3).T
    masks = select({"w": score}, Masks.ones({"w": score}), 0.5, "global").masks
    assert torch.equal(masks["w"], score >= 3)


def test_channels_last_scores_choose_the_same_weights() -> None:
    score = torch.rand(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    earlier = Masks({"w": score > 0.2})
    expected = select({"w": score}, earlier, 0.4, "global")
    found = select({"w": score.contiguous(memory_format=torch.channels_last)}, earlier, 0.4, "global")
    assert found == expected


@pytest.mark.parametrize("threads", [1, 2])
def test_many_scores_are_exact_on_several_threads(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    score = torch.rand(400_001, generator=torch.Generator().manual_seed(0))
    kept = select({"w": score}, Masks.ones({"w": score}), 0.1, "global").masks["w"]
    torch.set_num_threads(before)
    assert torch.equal(kept, score >= score.sort(descending=True).values[round(0.1 * len(score)) - 1])


@pytest.mark.parametrize(
    ("density", "size", "kept"), [(1.0, 7, 7), (0.1, 95, 10), (1e-3, 1499, 1), (0.5, 5, 2)]
)
def test_counting_rounds_to_the_nearest(density: float, size: int, kept: int) -> None:
    assert kept_count(density, size) == kept == round(density * size)


@pytest.mark.parametrize("density", [0.0, 1e-9, 1 / 300])
def test_a_density_that_leaves_nothing_is_an_error_with_the_largest_compression(density: float) -> None:
    with pytest.raises(UsageError, match="largest possible is 100"):
        kept_count(density, 100)


def test_the_largest_compression_keeps_one_weight() -> None:
    scores = {"a": torch.rand(1000, generator=torch.Generator().manual_seed(0))}
    masks = select(scores, Masks.ones(scores), 1 / 1000, "global").masks
    assert masks.kept == 1
    assert masks["a"].nonzero().item() == scores["a"].argmax()
    assert math.isclose(masks.compression, 1000)


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
@settings(max_examples=120)
def test_every_path_keeps_what_a_stable_sort_keeps(
    rows: list[list[float]], data: st.DataObject, sample: int
) -> None:
    scores = tensors(rows)
    eligible = [
        torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(r), max_size=len(r)))) for r in rows
    ]
    k = data.draw(st.integers(0, sum(int(mask.sum()) for mask in eligible)))
    with patch.object(selection, "SAMPLE", sample):
        kept, threshold = keep_largest(scores, eligible, k)
    on_device, same_threshold = keep_largest_on_device(scores, eligible, k)
    expected = naive(scores, eligible, k)
    assert torch.equal(torch.cat(kept), expected)
    assert torch.equal(torch.cat(on_device), expected)
    assert threshold == same_threshold == (float(torch.cat(scores)[expected].min()) if k else float("inf"))


@given(rows=ROWS, data=st.data(), low=NUMBER, high=NUMBER)
@settings(max_examples=80)
def test_a_bracket_that_misses_costs_time_and_not_exactness(
    rows: list[list[float]], data: st.DataObject, low: float, high: float
) -> None:
    scores = tensors(rows)
    k = data.draw(st.integers(0, sum(map(len, rows))))
    bounds = (np.float32(min(low, high)), np.float32(max(low, high)))
    with patch.object(selection, "SAMPLE", 0), patch.object(selection, "bracket", return_value=bounds):
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
def test_large_rows_are_exact_for_any_sample(name: str) -> None:
    numbers = DATA[name](np.random.default_rng(5)).astype(np.float32)
    order = np.argsort(-numbers, kind="stable")
    cuts = [0, 3, MANY // 3, MANY]
    tensors = [torch.from_numpy(numbers[start:stop]) for start, stop in pairwise(cuts)]
    for k in (1, 40, MANY // 1000, MANY // 2, MANY - 3, MANY):
        expected = np.zeros(MANY, dtype=np.bool_)
        expected[order[:k]] = True
        kept, threshold = keep_largest(tensors, everything(tensors), k)
        assert np.array_equal(torch.cat(kept).numpy(), expected), k
        assert threshold == numbers[order[k - 1]]
        if k == 40:
            on_device, _ = keep_largest_on_device(tensors, everything(tensors), k)
            assert np.array_equal(torch.cat(on_device).numpy(), expected), k


def test_what_is_removed_stays_removed_even_where_it_scores_most() -> None:
    row = torch.rand(MANY, generator=torch.Generator().manual_seed(0))
    eligible = row < 0.5
    kept, threshold = keep_largest([row], [eligible], 1000)
    assert int(kept[0].sum()) == 1000
    assert not (kept[0] & ~eligible).any()
    assert threshold == row[eligible].sort(descending=True).values[999]
