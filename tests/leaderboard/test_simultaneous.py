"""Critical values for all pairs of rows, and how often boards of equal rows claim a difference."""

from __future__ import annotations

import math
from typing import Any

import null_boards
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from synflow_bench.leaderboard import build_boards
from synflow_bench.leaderboard.simultaneous import critical_value, seeds_needed, spreads, standard_error

COLUMN_ERROR = null_boards.ERROR / null_boards.COLUMNS


@given(st.integers(2, 8), st.integers(2, 10), st.integers(0, 2**31))
def test_the_spreads_are_those_of_the_simulation(rows: int, seeds: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(0, 1, (rows, seeds))
    assert spreads(values.tolist()) == pytest.approx(null_boards.spreads(values[None])[0].tolist())


@given(st.lists(st.floats(-1, 1), min_size=5, max_size=5), st.floats(-1, 1))
def test_what_all_rows_share_at_a_seed_does_not_count(effects: list[float], shift: float) -> None:
    rows = np.random.default_rng(0).normal(0, 0.1, (4, 5)) + 1
    expected = spreads(rows.tolist())
    assert spreads((rows + effects + shift).tolist()) == pytest.approx(expected, abs=1e-9)


def test_no_row_has_less_than_the_usual_spread_of_its_column() -> None:
    values = np.random.default_rng(1).normal(0, 1, (9, 6))
    values[0] = values.mean(axis=0)
    found = spreads(values.tolist())
    assert found[0] == min(found)
    assert found[0] > 0.5


def test_two_rows_have_the_standard_error_of_their_paired_differences() -> None:
    one, other = np.random.default_rng(2).normal(0, 1, (2, 6))
    first, second = spreads([one.tolist(), other.tolist()])
    assert standard_error(first, second, 6) == pytest.approx(stats.sem(one - other))


@pytest.mark.parametrize("seeds", [3, 4, 5, 8, 10])
def test_the_critical_value_of_two_rows_is_that_of_the_paired_t_test(seeds: int) -> None:
    """Two rows have one difference per seed, whatever their spreads."""
    exact = float(stats.t.ppf(0.975, seeds - 1))
    assert exact * 0.98 < critical_value(2, seeds, 0.05) < exact * 1.08


@given(st.integers(4, 60), st.integers(3, 30), st.floats(0.001, 0.05))
def test_more_rows_and_smaller_errors_need_larger_values(rows: int, seeds: int, error: float) -> None:
    found = critical_value(rows, seeds, error)
    assert found < critical_value(rows, seeds, error / 1.5)
    assert critical_value(2 * rows, seeds, error) > 0.9 * found
    assert critical_value(rows, 30, error) == critical_value(rows, 20, error)


@pytest.mark.parametrize(
    "name", ["equal spreads", "a third of the rows 10 x as noisy", "shared effects of seeds"]
)
@pytest.mark.parametrize(("rows", "seeds"), [(25, 3), (25, 5), (12, 7), (25, 10)])
def test_at_most_one_null_board_in_twenty_claims_a_difference(name: str, rows: int, seeds: int) -> None:
    boards = 400
    found = null_boards.false_claims(null_boards.CALIBRATED[name], rows, seeds, boards, seed=77)
    assert found <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / boards)


@pytest.mark.parametrize("name", [*null_boards.UNSEEN])
def test_nulls_that_were_not_calibrated_keep_the_error_too(name: str) -> None:
    found = null_boards.false_claims(null_boards.UNSEEN[name], 25, 5, 400, seed=78)
    assert found <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)


def test_the_board_itself_claims_nothing_on_null_boards(records_of: Any) -> None:
    """The records of equal rows, through the whole of the leaderboard."""
    draw, worse = np.random.default_rng(9), 0
    for _ in range(20):
        shared = draw.normal(0.7, 0.03, 5)
        table = {
            f"pruner-{row}": {c: (shared + draw.normal(0, 0.01, 5)).tolist() for c in (2, 10, 50)}
            for row in range(10)
        }
        (board,) = build_boards(records_of(table))
        standings = [point.standing for row in board.rows for point in row.points]
        standings += [row.auc_standing for row in board.rows]
        worse += "worse" in standings
        assert all(not row.rank_range or row.rank_range.low == 1 for row in board.rows)
    assert worse <= 3


@pytest.mark.parametrize("gap", [2.0, 3.0, 5.0])
def test_the_seeds_needed_separate_rows_about_as_often_as_wanted(gap: float) -> None:
    seeds = seeds_needed(gap, 1.0, 1.0, 25, COLUMN_ERROR)
    assert seeds is not None
    values = np.random.default_rng(11).normal(0, 1, (500, 25, seeds))
    values[:, 0] += gap
    errors = np.sqrt((null_boards.spreads(values)[:, :2] ** 2).sum(axis=1) / seeds)
    found = (values[:, 0] - values[:, 1]).mean(axis=1) > critical_value(25, seeds, COLUMN_ERROR) * errors
    assert 0.65 < found.mean() < 0.99


def test_no_number_of_seeds_is_named_for_rows_that_are_alike() -> None:
    assert seeds_needed(0.01, 1.0, 1.0, 10, COLUMN_ERROR) is None
    assert seeds_needed(0.0, 1.0, 1.0, 10, COLUMN_ERROR) is None
