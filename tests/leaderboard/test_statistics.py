"""Intervals against closed forms, against scipy, and against how often they hold."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from synflow_bench.leaderboard.statistics import (
    area_under_curve,
    estimate,
    median,
    paired_difference,
    t_quantile,
)

TRUE_MEDIAN = float(stats.beta.median(5, 2))
SHARES = st.lists(st.floats(0, 1), min_size=2, max_size=10)


@pytest.mark.parametrize("degrees", [*range(1, 31), 100, 999])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_the_quantile_is_that_of_scipy(degrees: int, confidence: float) -> None:
    assert t_quantile(degrees, confidence) == pytest.approx(
        stats.t.ppf((1 + confidence) / 2, degrees), rel=1e-9
    )


def test_the_quantile_has_its_closed_forms_for_one_and_two_degrees() -> None:
    assert t_quantile(1) == pytest.approx(math.tan(math.pi * 0.95 / 2), rel=1e-12)
    assert t_quantile(2) == pytest.approx(0.95 * math.sqrt(2 / (1 - 0.95**2)), rel=1e-12)


def test_two_seeds_by_hand() -> None:
    # mean 0.5, s = 0.2 / sqrt(2), s / sqrt(n) = 0.1, t(1) = 12.706
    pair = estimate([0.4, 0.6])
    assert (pair.mean, pair.n) == (0.5, 2)
    assert pair.half_width == pytest.approx(1.2706, abs=1e-4)


def test_three_seeds_by_hand() -> None:
    # s = 0.1, t(2) = 4.3027
    assert estimate([0.7, 0.8, 0.9]).half_width == pytest.approx(4.3027 * 0.1 / math.sqrt(3), abs=1e-5)


def test_one_seed_has_no_interval() -> None:
    assert (estimate([0.8]).half_width, estimate([0.8]).low, estimate([0.8]).kind) == (None, None, None)
    assert estimate([0.8]).contains(0.8) is None


@given(SHARES)
def test_the_half_width_is_that_of_scipy(values: list[float]) -> None:
    found = estimate(values)
    assert found.mean == pytest.approx(np.mean(values))
    expected = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    assert found.half_width == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(SHARES)
def test_no_interval_leaves_the_possible_values(values: list[float]) -> None:
    found = estimate(values)
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low <= found.mean + 1e-12
    assert found.mean - 1e-12 <= found.high <= 1


@given(st.lists(st.floats(0, 1), min_size=2, max_size=4))
def test_fewer_than_five_seeds_show_the_range_of_the_values(values: list[float]) -> None:
    found = estimate(values)
    assert (found.low, found.high, found.kind) == (min(values), max(values), "range")
    assert not found.is_symmetric


def test_from_five_seeds_on_the_interval_is_of_student_and_is_cut_at_the_ends() -> None:
    steady, bold = estimate([0.50, 0.51, 0.52, 0.53, 0.54]), estimate([1.0, 1.0, 1.0, 0.1, 1.0])
    assert steady.kind == "t95"
    assert steady.is_symmetric
    assert steady.half_width is not None
    assert (steady.low, steady.high) == pytest.approx((0.52 - steady.half_width, 0.52 + steady.half_width))
    assert bold.high == 1.0
    assert not bold.is_symmetric
    assert bold.low == pytest.approx(0.82 - stats.t.ppf(0.975, 4) * 0.9 / 5)


@given(SHARES)
def test_the_median_is_that_of_numpy(values: list[float]) -> None:
    assert median(values) == pytest.approx(np.median(values))


@given(SHARES, st.randoms())
def test_the_order_of_seeds_does_not_change_a_bit(values: list[float], shuffler: random.Random) -> None:
    shuffled = list(values)
    shuffler.shuffle(shuffled)
    assert estimate(shuffled) == estimate(values)


@pytest.mark.parametrize("seeds", [5, 10])
def test_ninety_five_in_a_hundred_intervals_hold_the_truth(seeds: int) -> None:
    draw, trials = np.random.default_rng(1), 4000
    held = sum(bool(estimate(draw.normal(0.8, 0.02, seeds).tolist()).contains(0.8)) for _ in range(trials))
    standard_error = math.sqrt(0.95 * 0.05 / trials)
    assert held / trials == pytest.approx(0.95, abs=4 * standard_error)


@pytest.mark.parametrize(("seeds", "share"), [(2, 0.5), (3, 0.75), (4, 0.875)])
def test_a_range_holds_the_median_of_all_seeds_as_often_as_its_definition_says(
    seeds: int, share: float
) -> None:
    draw, trials = np.random.default_rng(3), 4000
    held = sum(bool(estimate(draw.beta(5, 2, seeds).tolist()).contains(TRUE_MEDIAN)) for _ in range(trials))
    assert held / trials == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / trials))


def test_only_common_seeds_are_paired() -> None:
    difference = paired_difference({0: 0.9, 1: 0.8, 7: 0.1}, {0: 0.5, 1: 0.4, 9: 1.0})
    assert difference is not None
    assert (difference.mean, difference.n) == (pytest.approx(0.4), 2)


def test_the_area_under_a_line_in_log_compression_is_its_middle() -> None:
    assert area_under_curve([1, 10, 100], [0.9, 0.6, 0.3]) == pytest.approx(0.6)
    assert area_under_curve([1, 10], [0.9, 0.3]) == pytest.approx(0.6)
