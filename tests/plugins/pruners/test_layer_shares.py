"""Sharing a number among layers: the laws that every rule of layer densities relies on."""

from __future__ import annotations

from math import isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synflow_bench.pruning import whole
from synflow_bench_pruners.layer_shares import fill, pass_on, root

Layers = list[tuple[float, int]]
LAYERS = st.lists(st.tuples(st.floats(1e-3, 1e3), st.integers(1, 10_000)), min_size=1, max_size=8)
FRACTION = st.just(0.0) | st.floats(1e-12, 1)  # of a subnormal total no shares are proportional


def split(layers: Layers) -> tuple[dict[str, float], dict[str, int]]:
    """Weights and limits by name."""
    names = [f"layer{i}" for i in range(len(layers))]
    weights = {name: weight for name, (weight, _) in zip(names, layers, strict=True)}
    return weights, {name: limit for name, (_, limit) in zip(names, layers, strict=True)}


@given(LAYERS, FRACTION)
def test_filling_is_proportional_where_no_limit_is_met(layers: Layers, fraction: float) -> None:
    weights, most = split(layers)
    total = fraction * sum(most.values())
    shares = fill(weights, total, most)
    assert sum(shares.values()) == pytest.approx(total, rel=1e-9, abs=1e-9)
    assert all(0 <= shares[name] <= most[name] for name in most)
    scales = {name: shares[name] / weights[name] for name in most}
    open_scales = [scales[name] for name in most if shares[name] < most[name]]
    for scale in open_scales:
        assert isclose(scale, open_scales[0], rel_tol=1e-9)
    for name in most:
        if shares[name] == most[name] and open_scales:
            assert scales[name] <= open_scales[0] * (1 + 1e-9)


def test_filling_respects_floors() -> None:
    shares = fill({"a": 1, "b": 1, "c": 2}, 10, {"a": 100, "b": 100, "c": 3}, {"a": 5})
    assert shares == pytest.approx({"a": 5, "b": 2, "c": 3})


def test_filling_to_the_brim_and_with_nothing() -> None:
    most = {"a": 3, "b": 4}
    assert fill({"a": 1, "b": 9}, 7, most) == most
    assert fill({"a": 1, "b": 9}, 0, most) == {"a": 0, "b": 0}


@given(LAYERS, FRACTION)
def test_whole_numbers_sum_exactly_and_stay_within_one_of_the_shares(layers: Layers, fraction: float) -> None:
    weights, most = split(layers)
    total = round(fraction * sum(most.values()))
    shares = fill(weights, total, most)
    numbers = whole(shares, total, most)
    assert sum(numbers.values()) == total
    for name, number in numbers.items():
        assert number <= most[name]
        assert abs(number - shares[name]) < 1 + 1e-6


def test_the_largest_remainders_are_rounded_up() -> None:
    most = dict.fromkeys("abc", 10)
    assert whole({"a": 1.2, "b": 2.5, "c": 3.3}, 7, most) == {"a": 1, "b": 3, "c": 3}
    assert whole({"a": 1.5, "b": 2.5, "c": 3.0}, 7, most) == {"a": 2, "b": 2, "c": 3}


@given(LAYERS, FRACTION)
def test_passing_on_loses_nothing(layers: Layers, fraction: float) -> None:
    weights, most = split(layers)
    scale = fraction * sum(most.values()) / sum(weights.values())
    asked = {name: scale * weight for name, weight in weights.items()}
    kept = pass_on(asked, most)
    assert sum(kept.values()) == pytest.approx(sum(asked.values()), rel=1e-9)
    assert all(kept[name] <= most[name] for name in most)


def test_a_surplus_goes_to_the_next_layer_first_and_round_the_corner_last() -> None:
    assert pass_on({"a": 9.0, "b": 1.0, "c": 1.0}, {"a": 5, "b": 3, "c": 9}) == {"a": 5, "b": 3, "c": 3}
    assert pass_on({"a": 1.0, "b": 1.0, "c": 9.0}, {"a": 3, "b": 3, "c": 7}) == {"a": 3, "b": 1, "c": 7}


def test_a_root_is_found_to_the_last_digit() -> None:
    assert root(lambda x: x**3, 2.0, 10.0) == pytest.approx(2 ** (1 / 3), rel=1e-15)
