"""Tuned boards: every pruner has the value that validation accuracy chooses, whatever the test set says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synflow_bench.errors import UsageError
from synflow_bench.leaderboard import Board, build_boards, build_leaderboard, render
from synflow_bench.records import Record
from synflow_bench.suites import Recipe, Setting, read_tuning

RATES = (0.001, 0.003, 0.01)
TUNING = read_tuning("lr=0.001|0.003|0.01")

MakeRecord = Callable[..., Record]


def setting(rate: float, **recipe: Any) -> Setting:
    fields = {"epochs": 5, "optimizer": "adam", "lr": rate, **recipe}
    return Setting(dataset="digits", model="fc", recipe=Recipe(**fields))


def with_validation(record: Record, val_top1: float | None) -> Record:
    assert record.metrics is not None
    metrics = record.metrics.model_copy(update={"val_top1": val_top1})
    return record.model_copy(update={"metrics": metrics})


@pytest.fixture
def trained(make_record: MakeRecord) -> Callable[..., list[Record]]:
    """Records of a pruner at rate -> (validation, test) accuracies by seed, at each compression."""

    def trained(
        pruner: str,
        by_rate: dict[float, list[tuple[float, float]]],
        compressions: tuple[float, ...] = (10, 100),
        **fields: Any,
    ) -> list[Record]:
        return [
            with_validation(make_record(pruner, c, seed, test, setting=setting(rate), **fields), validation)
            for rate, seeds in by_rate.items()
            for seed, (validation, test) in enumerate(seeds)
            for c in compressions
        ]

    return trained


def tuned_board(records: list[Record]) -> Board:
    (board,) = build_boards(records, tuning=TUNING)
    return board


def values(board: Board) -> dict[str, float | None]:
    return {row.label: row.tuned for row in board.rows}


def test_each_pruner_has_the_value_with_the_highest_validation_accuracy(trained: Any) -> None:
    records = [
        *trained("snip", {0.001: [(0.8, 0.1)], 0.003: [(0.7, 0.9)], 0.01: [(0.6, 0.5)]}),
        *trained("grasp", {0.001: [(0.2, 0.9)], 0.003: [(0.3, 0.9)], 0.01: [(0.9, 0.4)]}),
        *trained("dense", {0.001: [(0.2, 0.9)], 0.003: [(0.9, 0.8)], 0.01: [(0.3, 0.9)]}, (1,)),
    ]
    board = tuned_board(records)
    assert values(board) == {"snip": 0.001, "grasp": 0.01, "dense": 0.003}
    assert {row.label: row.points[0].top1[0] for row in board.rows} == {
        "snip": 0.1,
        "grasp": 0.4,
        "dense": 0.8,
    }
    assert board.tuned is not None
    assert (board.tuned.trainings, board.tuned.shown) == (15, 5)


def test_the_mean_is_over_compressions_of_means_over_seeds(trained: Any) -> None:
    at_ten = {0.001: [(0.9, 0.5)] * 3, 0.01: [(0.6, 0.5)] * 3}
    at_hundred = {0.001: [(0.1, 0.5)], 0.01: [(0.5, 0.5)]}
    records = [*trained("snip", at_ten, (10,)), *trained("snip", at_hundred, (100,))]
    # Over cells, 0.001 has 0.7 and wins; over compressions it has 0.5, and 0.01 has 0.55.
    assert values(tuned_board(records)) == {"snip": 0.01}


def test_a_cell_that_failed_or_is_missing_counts_as_no_accuracy(
    trained: Any, make_record: MakeRecord
) -> None:
    records = trained("snip", {0.001: [(0.9, 0.9), (0.9, 0.9)], 0.01: [(0.6, 0.6), (0.6, 0.6)]}, (10,))
    assert values(tuned_board(records)) == {"snip": 0.001}
    without = [each for each in records if (each.cell.setting.recipe.lr, each.cell.seed) != (0.001, 1)]
    assert values(tuned_board(without)) == {"snip": 0.01}
    failed = make_record("snip", 10, 1, setting=setting(0.001), status="failed")
    assert values(tuned_board([*without, failed])) == {"snip": 0.01}


def test_of_equal_values_the_first_is_taken(trained: Any) -> None:
    assert values(tuned_board(trained("snip", {rate: [(0.5, 0.5)] for rate in RATES}))) == {"snip": 0.001}


def test_an_ablation_has_the_value_of_its_plain_row(trained: Any) -> None:
    plain = trained("snip", {0.001: [(0.1, 0.5)] * 3, 0.01: [(0.9, 0.6)] * 3})
    shuffled = trained("snip", {0.001: [(0.9, 0.5)] * 3, 0.01: [(0.1, 0.4)] * 3}, ablation="shuffle")
    board = tuned_board([*plain, *shuffled])
    assert [row.tuned for row in (*board.rows, *board.ablated)] == [0.01, 0.01]
    assert board.rows[0].points[0].deltas["shuffle"].mean == pytest.approx(0.2)


@given(order=st.permutations(range(12)), tests=st.lists(st.floats(0, 1), min_size=12, max_size=12))
def test_the_choice_depends_on_validation_alone_and_not_on_the_order(
    make_record: MakeRecord, order: list[int], tests: list[float]
) -> None:
    cells = [(rate, seed) for rate in RATES for seed in range(4)]
    records = [
        with_validation(make_record("snip", 10, seed, test, setting=setting(rate)), rate * 10 + seed / 100)
        for (rate, seed), test in zip(cells, tests, strict=True)
    ]
    assert values(tuned_board([records[place] for place in order])) == {"snip": 0.01}


def test_other_settings_keep_their_boards(trained: Any, make_record: MakeRecord) -> None:
    records = trained("snip", {0.001: [(0.9, 0.9)], 0.01: [(0.6, 0.6)]})
    others = [
        make_record("snip", 10, setting=setting(0.1)),
        make_record("snip", 10, setting=setting(0.001, epochs=9)),
    ]
    boards = build_boards([*records, *others], tuning=TUNING)
    assert sorted(board.tuned is not None for board in boards) == [False, False, True]
    assert len({board.id for board in boards}) == 3
    plain = {board.id for board in build_boards([*records, *others])}
    assert [board.id in plain for board in boards] == [board.tuned is None for board in boards]


@pytest.mark.parametrize("form", ["table", "markdown", "latex", "csv", "json"])
def test_every_format_shows_the_value_and_its_cost(trained: Any, form: str) -> None:
    records = trained("snip", {0.001: [(0.8, 0.1)] * 3, 0.003: [(0.9, 0.2)] * 3}, (2, 5, 10, 20, 50))
    leaderboard = build_leaderboard(records, tuning=TUNING)
    text = " ".join(render(leaderboard, form).split())
    assert "0.003" in text
    if form in ("table", "markdown", "latex"):
        assert "30 cells were trained for the 15 that are shown" in text
        assert "lr tuned for each pruner" in text
    assert "0.003" in str(leaderboard)


def test_settings_without_validation_cannot_be_tuned(trained: Any) -> None:
    records = [with_validation(each, None) for each in trained("snip", {0.001: [(0, 0.9)], 0.01: [(0, 0.6)]})]
    with pytest.raises(UsageError, match="holds no examples out"):
        tuned_board(records)


def test_without_two_of_the_values_there_is_nothing_to_tune(trained: Any) -> None:
    with pytest.raises(UsageError, match="no two settings differ only in lr"):
        tuned_board(trained("snip", {0.001: [(0.8, 0.1)]}))
