"""Boards in a terminal: as wide as it is, one line per pruner unless details are requested."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from synflow_bench.leaderboard import Leaderboard, build_leaderboard, print_boards
from synflow_bench.records import Record


def test_the_table_marks_the_best_and_the_undecided_by_signs(text_of: Any) -> None:
    text = text_of("table")
    assert "89.0 (88.0–90.1)*" in text
    assert "88.0 (86.0–90.0)?" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("details", [True, False])
@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_the_terminal_table_is_never_wider_than_the_terminal(
    make_board: Any, make_record: Any, width: int, details: bool
) -> None:
    layers = tuple(f"layer{number}.0.downsample.weight" for number in range(5))
    text = printed(make_board(more=[make_record("phew", collapsed_layers=layers)]), width, details=details)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text, "no number and no header is cut"


def printed(board: Any, width: int, **options: Any) -> str:
    sink = io.StringIO()
    print_boards(Leaderboard((board,)), Console(file=sink, width=width), **options)
    return sink.getvalue()


def test_a_narrow_terminal_gets_several_tables(make_board: Any) -> None:
    wide, slim = (printed(make_board(), width, details=True) for width in (140, 40))
    assert "89.0 (88.0–90.1)*" in wide
    assert "89.0 (88.0–90.1)*" in slim
    assert wide.count("\npruner ") < slim.count("\npruner ")


def test_by_default_there_is_one_line_per_pruner_with_the_marks(make_board: Any) -> None:
    lines = printed(make_board(), 75).splitlines()
    assert lines[0].startswith("digits / fc: ")
    assert lines[0].endswith("dense network 97.0 (96.0–98.0)")
    assert lines[1].split() == ["pruner", "#", "AUC", "2", "10", "50"]
    synflow, random, snip = (line.split() for line in lines[3:6])
    assert synflow[:5] == ["synflow", "1", "(1–2)", "86.1", "85–88*"]
    assert random[5:7] == ["92.0", "90–94?"]
    assert snip[1:3] == ["3", "(3–3)"]
    assert snip[5:7] == ["60.0", "59–61"]
    assert lines[6].startswith("within 1 dense training synflow has the best AUC (86.1 %), ahead of random")
    assert len(lines) <= 3 + 3 + 2 + 7
    assert max(map(len, lines)) <= 75


def test_compressions_that_are_not_shown_are_named(make_board: Any) -> None:
    assert "not shown: compression 5, 20;" in printed(make_board(), 75)
    assert "not shown" not in printed(make_board(), 120)


def test_differences_from_a_baseline_are_a_column(example: list[Record]) -> None:
    (board,) = build_leaderboard(example, baseline="random").boards
    text = printed(board, 100)
    headings = next(line for line in text.splitlines() if line.startswith("pruner"))
    assert "to random" in headings
    rows = {
        line.split()[0]: line.split() for line in text.splitlines() if line.startswith(("random", "synflow"))
    }
    assert rows["synflow"][5].startswith("+")
    assert rows["random"][5] == "–"


def test_nineteen_pruners_take_no_more_lines_than_a_terminal_has(make_record: Any) -> None:
    records = [
        make_record(f"pruner-{n}", c, seed, 0.9 - n / 100)
        for n in range(19)
        for c in (2, 5, 10, 20, 50, 100)
        for seed in range(3)
    ]
    (board,) = build_leaderboard(records).boards
    lines = printed(board, 80).splitlines()
    assert len(lines) <= 30
    assert max(map(len, lines)) <= 80


def test_warnings_come_last(make_board: Any, make_record: Any) -> None:
    failed = make_record("snip", 50, seed=3, status="failed", message="no luck")
    assert printed(make_board(more=[failed]), 120).splitlines()[-1].startswith("snip: 1 cell failed")


def test_a_preliminary_board_says_so_in_one_line_and_has_no_ranks(make_board: Any) -> None:
    text = printed(make_board({"snip": {10: (0.5, 0.6)}}), 120)
    assert "preliminary: fewer than 3 seeds" in text.splitlines()[1]
    assert "#" not in text


def test_a_board_of_failed_pruners_has_nothing_to_rank(make_record: Any) -> None:
    records = [make_record("dense", 1), make_record("snip", 10, status="failed")]
    (board,) = build_leaderboard(records).boards
    text = printed(board, 120)
    assert "preliminary: nothing to rank, because no cell of a pruner has finished" in text
    assert "fewer than" not in text


def test_the_legend_explains_dense_trainings_and_differences_where_the_board_has_them(
    example: list[Record], make_board: Any
) -> None:
    (compared,) = build_leaderboard(example, baseline="random").boards
    assert "to random: AUC minus that of random" in printed(compared, 200)
    assert "\ndense training: " in printed(make_board(), 120)
    assert "dense training" not in printed(make_board({"dense": {1: (0.5, 0.6)}}), 120)


def test_everything_else_is_in_the_details(make_board: Any) -> None:
    assert "prune s" not in printed(make_board(), 100)
    assert "prune s" in printed(make_board(), 100, details=True)
    assert "5 epochs, adam" in printed(make_board(), 100, details=True)


def test_brackets_in_a_row_are_not_markup(make_board: Any, make_record: Any) -> None:
    records = [
        make_record("synflow[rounds=10]"),
        make_record("synflow[rounds=1]"),
        make_record("bold", parameters={"red": 1}),
    ]
    text = printed(make_board(more=records), 120)
    assert "synflow[rounds=10]" in text
    assert "bold[red=1]" in text
