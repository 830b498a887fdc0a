"""Differences paired by seed: from the best, from a baseline, and from ablations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from synflow_bench.errors import UnknownNameError, UsageError
from synflow_bench.leaderboard import Board, Estimate, Row, build_leaderboard, render
from synflow_bench.suites import Revisions

ONE, OTHER = (0.81, 0.84, 0.86), (0.79, 0.80, 0.85)
TABLE = {"dense": {1: (0.95, 0.96, 0.97)}, "snip": {2: ONE, 10: ONE}, "random": {2: OTHER, 10: OTHER}}


def row(board: Board, label: str) -> Row:
    return next(row for row in board.rows if row.label == label)


def interval_of_scipy(one: Any, other: Any) -> tuple[float, float]:
    found = stats.ttest_rel(one, other).confidence_interval(0.95)
    return float(found.low), float(found.high)


def interval(estimate: Estimate | None) -> tuple[float, float]:
    assert estimate is not None
    assert estimate.half_width is not None
    return estimate.mean - estimate.half_width, estimate.mean + estimate.half_width


def test_the_difference_from_the_best_has_the_paired_interval_of_scipy(make_board: Any) -> None:
    random, snip = (row(make_board(TABLE), label).entries[0] for label in ("random", "snip"))
    assert interval(random.to_best) == pytest.approx(interval_of_scipy(OTHER, ONE))
    assert snip.standing == "best"
    assert snip.to_best is None


def test_areas_are_compared_as_accuracies_are(make_board: Any) -> None:
    board = make_board(TABLE)
    assert row(board, "snip").area_standing == "best"
    assert interval(row(board, "random").area_to_best) == pytest.approx(interval_of_scipy(OTHER, ONE))


def test_a_baseline_adds_the_difference_from_it_everywhere(records_of: Any) -> None:
    (board,) = build_leaderboard(records_of(TABLE), baseline="random").boards
    assert board.baseline == "random"
    snip = row(board, "snip")
    assert interval(snip.entries[1].to_baseline) == pytest.approx(interval_of_scipy(ONE, OTHER))
    assert interval(snip.area_to_baseline) == pytest.approx(interval_of_scipy(ONE, OTHER))
    assert row(board, "random").entries[0].to_baseline is None
    assert row(board, "dense").entries[0].to_baseline is None


def test_the_dense_network_is_compared_at_its_only_compression(records_of: Any) -> None:
    (board,) = build_leaderboard(records_of(TABLE), baseline="dense").boards
    found = interval(row(board, "snip").entries[1].to_baseline)
    assert found == pytest.approx(interval_of_scipy(ONE, TABLE["dense"][1]))


def test_a_board_without_the_baseline_stays_as_it_is(records_of: Any, make_record: Any) -> None:
    elsewhere = make_record("grasp", setting=make_record().cell.setting.model_copy(update={"root_seed": 1}))
    boards = build_leaderboard([*records_of(TABLE), elsewhere], baseline="snip").boards
    assert sorted(str(board.baseline) for board in boards) == ["None", "snip"]


def test_a_baseline_that_no_board_has_is_an_error(records_of: Any, make_record: Any) -> None:
    with pytest.raises(UnknownNameError, match="unknown recorded row 'snp'; did you mean 'snip'"):
        build_leaderboard(records_of(TABLE), baseline="snp")
    variants = [make_record(f"synflow[rounds={rounds}]") for rounds in (1, 10)]
    with pytest.raises(UsageError, match=r"'synflow' has several rows .* 'synflow\[rounds=1\]'"):
        build_leaderboard(variants, baseline="synflow")


@pytest.mark.parametrize("form", ["table", "markdown", "latex", "html"])
def test_prose_says_which_row_is_the_baseline(records_of: Any, form: str) -> None:
    page = build_leaderboard(records_of(TABLE), baseline="random")
    assert "baseline: random" in render(page, form)
    assert "to baseline" in " ".join(render(page, form).split())


def test_a_gap_is_the_plain_row_minus_its_ablation_paired_by_seed(records_of: Any, make_board: Any) -> None:
    spoilt = records_of({"snip": {2: OTHER, 10: OTHER}}, ablation="shuffle")
    board = make_board(TABLE, spoilt)
    gap = row(board, "snip").entries[0].gaps["shuffle"]
    assert interval(gap) == pytest.approx(interval_of_scipy(ONE, OTHER))
    assert interval(row(board, "snip").area_gaps["shuffle"]) == pytest.approx(interval_of_scipy(ONE, OTHER))
    assert row(board, "random").entries[0].gaps == {}


def test_gaps_are_columns_where_there_are_ablations_and_absent_elsewhere(
    records_of: Any, make_board: Any
) -> None:
    spoilt = records_of({"snip": {2: OTHER, 10: OTHER}}, ablation="reinit")
    assert "reinit gap" in render([make_board(TABLE, spoilt)], "markdown").split("Definitions")[0]
    assert "gap" not in render([make_board(TABLE)], "markdown")


def test_ablations_come_in_one_order_whatever_was_recorded_first(make_record: Any, make_board: Any) -> None:
    names = ("random-inputs", "invert", "shuffle", "random-labels", "reinit")
    board = make_board(TABLE, [make_record("snip", 2, ablation=name) for name in names])
    assert board.ablations == ("shuffle", "reinit", "invert", "random-labels", "random-inputs")


def test_an_ablation_of_an_older_revision_has_no_gap(make_record: Any) -> None:
    records = [make_record(revisions=Revisions(pruner=2)), make_record(ablation="shuffle")]
    (board,) = build_leaderboard(records).boards
    assert board.ablations == ()
    assert sorted(row.label for row in board.rows) == ["snip", "snip (shuffle)"]


def test_paired_intervals_hold_the_true_difference_as_often_as_they_say(make_board: Any) -> None:
    draw, trials, held = np.random.default_rng(4), 150, 0
    for _ in range(trials):
        shared = draw.normal(0.6, 0.1, 5)
        one, other = (np.clip(shared + shift + draw.normal(0, 0.01, 5), 0, 1) for shift in (0.05, 0))
        board = make_board({"snip": {10: one.tolist()}, "random": {10: other.tolist()}})
        to_best = next(entry.to_best for row in board.rows for entry in row.entries if entry.to_best)
        low, high = interval(to_best)
        held += low <= -0.05 <= high
    assert held / trials == pytest.approx(0.95, abs=4 * (0.95 * 0.05 / trials) ** 0.5)
