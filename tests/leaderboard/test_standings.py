"""Verdicts beside the best, ranges of ranks, flattery, rows at chance and rows that are not defined."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synflow_bench.errors import NotDefinedError
from synflow_bench.leaderboard import Leaderboard, build_boards, build_leaderboard, render
from synflow_bench.leaderboard.describe import notes
from synflow_bench.leaderboard.standings import ComparedColumn, selection_bias, verdict
from synflow_bench.leaderboard.statistics import within
from synflow_bench.records import Failure, Record

COMPRESSIONS = (2, 5, 10, 20, 50)


@pytest.mark.parametrize(
    ("mean", "half_width", "expected"),
    [
        (-0.002, 0.005, "equivalent"),
        (-0.004, 0.003, "equivalent"),
        (-0.012, 0.005, "worse"),
        (-0.100, 0.050, "worse"),
        (-0.002, 0.020, "undecided"),
        (-0.100, 0.200, "undecided"),
        (0.100, 0.050, "undecided"),
        (0.0, 0.0, "equivalent"),
        (-0.5, 0.0, "worse"),
    ],
)
def test_the_verdict_follows_from_the_interval_and_the_margin(
    mean: float, half_width: float, expected: str
) -> None:
    interval = within(mean, half_width, 5, "simultaneous", least=-1.0)
    assert verdict(interval, 0.01) == expected


@given(st.floats(-0.99, 0.99), st.floats(0, 2), st.floats(0, 0.1))
def test_a_larger_margin_never_makes_a_row_worse(mean: float, half_width: float, margin: float) -> None:
    interval = within(mean, half_width, 5, "simultaneous", least=-1.0)
    wider, narrower = verdict(interval, margin + 0.05), verdict(interval, margin)
    assert wider == narrower or wider == "equivalent"


def test_a_clear_difference_is_found_with_five_seeds_and_the_interval_is_wider_than_the_uncorrected() -> None:
    draw = np.random.default_rng(0)
    heights = {"good": 0.9, "fair": 0.89, "poor": 0.6, "bad": 0.5}
    column = ComparedColumn.of(
        {name: dict(enumerate(height + draw.normal(0, 0.005, 5))) for name, height in heights.items()}
    )
    found = column.compare()
    assert {name: each.standing for name, each in found.items()} == {
        "good": "best", "fair": "undecided", "poor": "worse", "bad": "worse",
    }  # fmt: skip
    assert found["fair"].seeds_needed is not None
    assert found["fair"].seeds_needed > 5
    assert found["poor"].seeds_needed is None
    poor = found["poor"]
    assert poor.to_best
    assert poor.uncorrected
    assert poor.to_best.half_width is not None
    assert poor.to_best.half_width > (poor.uncorrected.half_width or 0)
    assert poor.to_best.mean == pytest.approx(poor.uncorrected.mean)


def test_two_common_seeds_decide_nothing() -> None:
    found = ComparedColumn.of({"a": {0: 0.9, 1: 0.9}, "b": {0: 0.1, 1: 0.1}}).compare()
    assert (found["a"].standing, found["b"].standing) == ("best", "undecided")
    assert found["b"].to_best is None


def test_all_columns_of_a_board_share_one_error(records_of: Any) -> None:
    table = {name: dict.fromkeys(COMPRESSIONS, (0.5, 0.6, 0.7)) for name in ("snip", "random")}
    (board,) = build_boards(records_of(table))
    assert board.compared_columns == len(COMPRESSIONS) + 1
    (few,) = build_boards(records_of({name: {10: (0.5, 0.6, 0.7)} for name in ("snip", "random")}))
    assert few.compared_columns == 1


def test_ranks_have_the_ranges_that_the_separated_pairs_leave() -> None:
    draw = np.random.default_rng(1)
    heights = {"a": 0.90, "b": 0.899, "c": 0.5, "d": 0.1}
    values = {name: dict(enumerate(height + draw.normal(0, 0.003, 8))) for name, height in heights.items()}
    values["short"] = {0: 0.9, 1: 0.9}
    ranges = {name: (each.low, each.high) for name, each in ComparedColumn.of(values).rank_ranges().items()}
    assert ranges == {"a": (1, 3), "b": (1, 3), "c": (3, 4), "d": (4, 5), "short": (1, 5)}


def test_the_best_of_equal_rows_is_flattered_and_a_clear_best_is_not() -> None:
    draw = np.random.default_rng(2)
    equal = draw.normal(0, 1, (25, 10)).tolist()
    clear = [[value + 100 * (row == 0) for value in values] for row, values in enumerate(equal)]
    truth = float(np.mean([draw.normal(0, 1, (25, 10)).mean(axis=1).max() for _ in range(500)]))
    assert 0.3 * truth < selection_bias(equal) < 1.3 * truth
    assert selection_bias(clear) == pytest.approx(0, abs=0.1)


def test_the_flattery_is_under_the_board(make_board: Any) -> None:
    text = " ".join(render(Leaderboard((make_board(),)), "markdown").split())
    assert "the best AUC is flattered by about 0." in text
    assert "AUC over compressions 2, 5, 10, 20, 50" in text
    assert "compared with the best in 6 columns" in text


def test_seeds_at_chance_are_counted_where_no_path_is_left_or_the_network_guesses(make_record: Any) -> None:
    accuracies = enumerate((0.8, 0.11, 0.1))
    records = [make_record("snip", 10, seed, top1, init_top1=0.1) for seed, top1 in accuracies]
    records += [make_record("grasp", 10, seed, 0.3, collapsed_layers=("fc1",)) for seed in range(3)]
    (board,) = build_boards(records)
    counts = {row.label: row.points[0].at_chance for row in board.rows}
    assert counts == {"snip": 2, "grasp": 3}
    text = render(Leaderboard((board,)), "markdown")
    assert "†2/3" in text
    assert "†3/3" in text


def test_networks_that_begin_with_trained_weights_do_not_make_a_level_of_chance(make_record: Any) -> None:
    records = [make_record("snip", 10, seed, 0.8, init_top1=0.75) for seed in range(3)]
    (board,) = build_boards(records)
    assert board.rows[0].points[0].at_chance == 0


@pytest.fixture
def not_defined(make_record: Any) -> Any:
    """A record of a method that is not defined for its network."""

    def not_defined(
        pruner: str,
        compression: float,
        seed: int = 0,
        reason: str = "keeps fewer weights than the last layer needs",
    ) -> Record:
        record: Record = make_record(pruner, compression, seed, status="skipped")
        error = NotDefinedError(reason)
        failure = Failure(kind=type(error).__name__, message=str(error))
        return record.model_copy(update={"error": failure})

    return not_defined


@pytest.mark.parametrize("form", ["table", "markdown", "latex"])
def test_a_method_that_is_not_defined_anywhere_is_named_below_the_board_alone(
    example: list[Record], not_defined: Any, form: str
) -> None:
    missing = [not_defined("smart-ratio", c, seed) for c in COMPRESSIONS for seed in range(3)]
    text = " ".join(render(build_leaderboard([*example, *missing]), form).split())
    assert "smart-ratio: not defined here at compression 2, 5, 10, 20, 50 (keeps fewer weights" in text
    assert "smart-ratio" not in text.split("achieved")[0]


def test_reasons_that_differ_by_compression_are_one_line_with_the_first(
    example: list[Record], not_defined: Any
) -> None:
    missing = [not_defined("smart-ratio", c, 0, f"more than the {1000 / c:g} to keep") for c in (10, 20, 50)]
    (board,) = build_leaderboard([*example, *missing]).boards
    lines = [line for line in notes(board) if "not defined" in line]
    assert lines == [
        "smart-ratio: not defined here at compression 10, 20, 50 (at 10: more than the 100 to keep)"
    ]


@pytest.mark.parametrize("form", ["table", "markdown", "latex", "csv", "json"])
def test_a_board_of_methods_that_are_not_defined_says_so_in_a_line(
    make_record: Any, not_defined: Any, form: str
) -> None:
    records = [make_record("dense", seed=seed, top1=0.9) for seed in range(3)]
    missing = [not_defined(pruner, c) for pruner in ("erk", "smart-ratio") for c in (10, 100)]
    leaderboard = build_leaderboard([*records, *missing])
    text = " ".join(render(leaderboard, form).split())
    if form in ("table", "markdown", "latex"):
        assert "nothing to rank, because no pruner of this board is defined here" in text
        summary = str(leaderboard)
        assert "nothing to rank" in summary
        assert "AUC 10" not in " ".join(summary.split())


def test_a_method_that_is_defined_at_some_compressions_is_shown_and_not_ranked(
    example: list[Record], make_record: Any, not_defined: Any
) -> None:
    some = [make_record("erk", c, seed, 0.99) for c in (2, 5) for seed in range(3)]
    (board,) = build_boards([*example, *some, *(not_defined("erk", c) for c in (10, 20, 50))])
    erk = next(row for row in board.rows if row.label == "erk")
    assert (erk.rank, erk.auc, erk.points[0].standing) == (None, None, "best")
    assert {row.label: row.rank for row in board.rows if row.rank} == {"synflow": 1, "random": 2, "snip": 3}
    line = next(line for line in render(Leaderboard((board,)), "markdown").splitlines() if "| erk" in line)
    assert line.count("not defined") == 3


def test_the_critical_compression_is_a_bound_where_nothing_collapsed(make_record: Any) -> None:
    records = [make_record("snip", c) for c in (2, 5)]
    records += [make_record("magnitude", c, collapsed_layers=("fc1",) if c == 5 else ()) for c in (2, 5)]
    text = render(build_leaderboard(records), "markdown")
    lines = reversed([line for line in text.splitlines() if line.startswith("| ")])
    rows = {line.split("|")[1].strip(): line for line in lines}
    found = {label: line.strip("| ").split("|")[-1].strip() for label, line in rows.items()}
    assert found["snip"] == "≥5"
    assert found["magnitude"] == "2"
