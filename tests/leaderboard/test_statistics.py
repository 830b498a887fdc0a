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
    paired_difference,
    standing_of,
    t_quantile,
)

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
    assert estimate([0.8]).half_width is None
    assert estimate([0.8]).contains(0.8) is None


@given(SHARES)
def test_the_interval_is_that_of_scipy(values: list[float]) -> None:
    found = estimate(values)
    assert found.mean == pytest.approx(np.mean(values))
    expected = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    assert found.half_width == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(SHARES, st.randoms())
def test_the_order_of_seeds_does_not_change_a_bit(values: list[float], shuffler: random.Random) -> None:
    shuffled = list(values)
    shuffler.shuffle(shuffled)
    assert estimate(shuffled) == estimate(values)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_ninety_five_in_a_hundred_intervals_hold_the_truth(seeds: int) -> None:
    draw, trials = np.random.default_rng(1), 4000
    held = sum(bool(estimate(draw.normal(0.8, 0.02, seeds).tolist()).contains(0.8)) for _ in range(trials))
    standard_error = math.sqrt(0.95 * 0.05 / trials)
    assert held / trials == pytest.approx(0.95, abs=4 * standard_error)


def test_equal_rows_are_called_different_one_time_in_twenty_though_seeds_differ_much() -> None:
    draw, trials, seeds = np.random.default_rng(2), 4000, 3
    apart = 0
    for _ in range(trials):
        shared = draw.normal(0.5, 0.2, seeds)
        best, row = (dict(enumerate(shared + draw.normal(0, 0.01, seeds))) for _ in range(2))
        apart += standing_of(paired_difference(row, best)) != "tie"
    assert apart / trials == pytest.approx(0.05, abs=4 * math.sqrt(0.95 * 0.05 / trials))


def test_pairing_finds_a_steady_difference_that_the_spread_of_seeds_hides() -> None:
    best, row = {0: 0.50, 1: 0.70, 2: 0.90}, {0: 0.489, 1: 0.69, 2: 0.891}
    assert standing_of(paired_difference(row, best)) == "worse"
    apart = stats.ttest_ind(list(best.values()), list(row.values())).pvalue
    assert apart > 0.9, "unpaired, they could not be told apart"


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=8))
def test_a_tie_is_a_paired_t_test_that_does_not_reject(pairs: list[tuple[float, float]]) -> None:
    best, row = (dict(enumerate(column)) for column in zip(*pairs, strict=True))
    differences = np.subtract(list(best.values()), list(row.values()))
    spread = float(np.std(differences, ddof=1))
    if spread < 1e-6:
        return
    statistic = abs(float(np.mean(differences))) / (spread / math.sqrt(len(pairs)))
    critical = float(stats.t.ppf(0.975, len(pairs) - 1))
    if not math.isclose(statistic, critical, rel_tol=1e-6):
        assert (standing_of(paired_difference(row, best)) == "tie") == (statistic < critical)


def test_only_common_seeds_are_paired() -> None:
    difference = paired_difference({0: 0.9, 1: 0.8, 7: 0.1}, {0: 0.5, 1: 0.4, 9: 1.0})
    assert difference is not None
    assert (difference.mean, difference.n) == (pytest.approx(0.4), 2)


def test_identical_differences_have_an_interval_of_no_width() -> None:
    assert standing_of(paired_difference({0: 0.5, 1: 0.25}, {0: 0.75, 1: 0.5})) == "worse"
    assert standing_of(paired_difference({0: 0.75, 1: 0.5}, {0: 0.75, 1: 0.5})) == "tie"


def test_a_row_that_is_better_than_the_best_is_undecided() -> None:
    assert standing_of(paired_difference({0: 0.75, 1: 0.5}, {0: 0.5, 1: 0.25})) == "undecided"


@pytest.mark.parametrize("row", [{}, {0: 0.5}, {5: 0.5, 6: 0.5}])
def test_fewer_than_two_common_seeds_decide_nothing(row: dict[int, float]) -> None:
    assert standing_of(paired_difference(row, {0: 0.9, 1: 0.8})) == "undecided"


def test_the_area_under_a_line_in_log_compression_is_its_middle() -> None:
    assert area_under_curve([1, 10, 100], [0.9, 0.6, 0.3]) == pytest.approx(0.6)
    assert area_under_curve([1, 10], [0.9, 0.3]) == pytest.approx(0.6)
