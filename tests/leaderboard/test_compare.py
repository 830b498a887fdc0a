"""Comparisons paired by seed: with the best, a baseline and ablations; and ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

from synflow_bench.errors import UnknownNameError, UsageError
from synflow_bench.leaderboard import (
    Board,
    BoardRow,
    Estimate,
    Leaderboard,
    build_leaderboard,
    render,
)
from synflow_bench.suites import Finetune, Multishot, Revisions, Singleshot

COMPRESSIONS = (2, 5, 10, 20, 50)
ONE, OTHER = (0.81, 0.84, 0.86), (0.79, 0.80, 0.85)
TABLE = {"dense": {1: (0.95, 0.96, 0.97)}, "snip": {2: ONE, 10: ONE}, "random": {2: OTHER, 10: OTHER}}


def row(board: Board, label: str) -> BoardRow:
    return next(row for row in board.rows if row.label == label)


def interval_of_scipy(one: Any, other: Any) -> tuple[float, float]:
    found = stats.ttest_rel(one, other).confidence_interval(0.95)
    return float(found.low), float(found.high)


def interval(estimate: Estimate | None) -> tuple[float, float]:
    assert estimate is not None
    assert estimate.half_width is not None
    return estimate.mean - estimate.half_width, estimate.mean + estimate.half_width


def test_the_uncorrected_difference_from_the_best_has_the_paired_interval_of_scipy(make_board: Any) -> None:
    random, snip = (row(make_board(TABLE), label).points[0] for label in ("random", "snip"))
    assert interval(random.to_best_uncorrected) == pytest.approx(interval_of_scipy(OTHER, ONE))
    assert snip.standing == "best"
    assert snip.to_best_uncorrected is None


def test_aucs_are_compared_as_accuracies_are(make_board: Any) -> None:
    board = make_board(TABLE)
    assert row(board, "snip").auc_standing == "best"
    assert interval(row(board, "random").auc_to_best_uncorrected) == pytest.approx(
        interval_of_scipy(OTHER, ONE)
    )


def test_a_baseline_adds_the_difference_from_it_everywhere(records_of: Any) -> None:
    (board,) = build_leaderboard(records_of(TABLE), baseline="random").boards
    assert board.baseline == "random"
    snip = row(board, "snip")
    assert interval(snip.points[1].to_baseline) == pytest.approx(interval_of_scipy(ONE, OTHER))
    assert interval(snip.auc_to_baseline) == pytest.approx(interval_of_scipy(ONE, OTHER))
    assert row(board, "random").points[0].to_baseline is None
    assert row(board, "dense").points[0].to_baseline is None


def test_the_dense_network_is_compared_at_its_only_compression(records_of: Any) -> None:
    (board,) = build_leaderboard(records_of(TABLE), baseline="dense").boards
    found = interval(row(board, "snip").points[1].to_baseline)
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


def test_a_baseline_without_accuracies_is_an_error_and_no_empty_column(
    records_of: Any, make_record: Any
) -> None:
    failed = [make_record("px", 2, seed, status="failed") for seed in range(3)]
    with pytest.raises(UsageError, match="no cell of 'px' has finished; compare with another row"):
        build_leaderboard([*records_of(TABLE), *failed], baseline="px")


@pytest.mark.parametrize("form", ["table", "markdown", "latex", "html"])
def test_prose_says_which_row_is_the_baseline(records_of: Any, form: str) -> None:
    page = build_leaderboard(records_of(TABLE), baseline="random")
    assert "baseline: random" in render(page, form)
    assert "to baseline" in " ".join(render(page, form).split())


def test_an_ablation_delta_is_the_plain_row_minus_its_ablation_paired_by_seed(
    records_of: Any, make_board: Any
) -> None:
    spoilt = records_of({"snip": {2: OTHER, 10: OTHER}}, ablation="shuffle")
    board = make_board(TABLE, spoilt)
    delta = row(board, "snip").points[0].deltas["shuffle"]
    assert interval(delta) == pytest.approx(interval_of_scipy(ONE, OTHER))
    assert interval(row(board, "snip").auc_deltas["shuffle"]) == pytest.approx(interval_of_scipy(ONE, OTHER))
    assert row(board, "random").points[0].deltas == {}


def test_ablation_deltas_are_columns_where_there_are_ablations_and_absent_elsewhere(
    records_of: Any, make_board: Any
) -> None:
    spoilt = records_of({"snip": {2: OTHER, 10: OTHER}}, ablation="reinit")
    assert (
        "reinit delta"
        in render(Leaderboard((make_board(TABLE, spoilt),)), "markdown").split("Definitions")[0]
    )
    assert "delta" not in render(Leaderboard((make_board(TABLE),)), "markdown")


def test_ablations_come_in_one_order_whatever_was_recorded_first(make_record: Any, make_board: Any) -> None:
    names = ("random-inputs", "invert", "shuffle", "random-labels", "reinit")
    board = make_board(TABLE, [make_record("snip", 2, ablation=name) for name in names])
    assert board.ablations == ("shuffle", "reinit", "invert", "random-labels", "random-inputs")


def test_an_ablation_of_an_older_revision_has_no_delta(make_record: Any) -> None:
    records = [make_record(revisions=Revisions(pruner=2)), make_record(ablation="shuffle")]
    (board,) = build_leaderboard(records).boards
    assert board.ablations == ()
    assert sorted(row.label for row in board.rows) == ["snip", "snip (shuffle)"]


def test_an_ablation_is_that_of_the_row_with_its_protocol(make_record: Any, records_of: Any) -> None:
    plain = make_record().cell.setting
    spoilt = {Singleshot(): 0.5, Multishot(levels=2): 0.4, Finetune(epochs=1): 0.3}
    records = [
        record
        for protocol, share in spoilt.items()
        for setting in [plain.model_copy(update={"protocol": protocol})]
        for table, ablation in (({"snip": {2: (0.8,)}}, "none"), ({"snip": {2: (share,)}}, "shuffle"))
        for record in records_of(table, setting=setting, ablation=ablation)
    ]
    (board,) = build_leaderboard(records).boards
    assert {row.label: round(row.points[0].deltas["shuffle"].mean, 9) for row in board.rows} == {
        "snip": 0.3,
        "snip@multishot[levels=2]": 0.4,
        "snip@finetune[epochs=1]": 0.5,
    }


def test_paired_intervals_hold_the_true_difference_as_often_as_they_say(make_board: Any) -> None:
    draw, trials, held = np.random.default_rng(4), 150, 0
    for _ in range(trials):
        shared = draw.normal(0.6, 0.1, 5)
        one, other = (np.clip(shared + shift + draw.normal(0, 0.01, 5), 0, 1) for shift in (0.05, 0))
        board = make_board({"snip": {10: one.tolist()}, "random": {10: other.tolist()}})
        points = [point for row in board.rows for point in row.points]
        low, high = interval(next(found for point in points if (found := point.to_best_uncorrected)))
        held += low <= -0.05 <= high
    assert held / trials == pytest.approx(0.95, abs=4 * (0.95 * 0.05 / trials) ** 0.5)


def test_the_auc_is_that_of_scipy(make_board: Any) -> None:
    curve = dict(zip(COMPRESSIONS, (0.9, 0.85, 0.8, 0.6, 0.3), strict=True))
    (row,) = make_board({"snip": {c: (a,) for c, a in curve.items()}}).rows
    area = integrate.trapezoid(list(curve.values()), np.log(COMPRESSIONS)) / np.log(50 / 2)
    assert row.auc.mean == pytest.approx(area)


def test_a_rank_is_one_and_the_number_of_larger_aucs(make_board: Any) -> None:
    assert {row.label: row.rank for row in make_board().rows} == {
        "dense": None, "synflow": 1, "random": 2, "snip": 3,
    }  # fmt: skip


def test_a_preliminary_board_has_no_ranks_and_no_column_for_them(make_board: Any) -> None:
    board = make_board({name: dict.fromkeys(COMPRESSIONS, (0.5, 0.6)) for name in ("snip", "random")})
    assert board.is_preliminary
    assert {row.rank for row in board.rows} == {None}
    assert (
        "rank"
        not in render(Leaderboard((board,)), "markdown").split("Final-epoch")[1].split("Definitions")[0]
    )


def test_a_row_of_two_seeds_is_not_ranked_among_those_of_three(make_board: Any) -> None:
    table = {
        "snip": dict.fromkeys(COMPRESSIONS, (0.5, 0.6, 0.7)),
        "random": dict.fromkeys(COMPRESSIONS, (0.9, 0.9)),
    }
    assert {row.label: row.rank for row in make_board(table).rows} == {"snip": 1, "random": None}
