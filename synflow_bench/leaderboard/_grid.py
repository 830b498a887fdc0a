"""The tables of a board as text, before any format dresses them."""

from __future__ import annotations

from dataclasses import dataclass

from synflow_bench.leaderboard._board import Board, Row, Standing
from synflow_bench.leaderboard._statistics import Estimate
from synflow_bench.leaderboard._text import BLANK, compression, percent, points


@dataclass(frozen=True)
class Mark:
    """One number: its mean, `±half-width`, its standing, and `n=..` where seeds are missing."""

    mean: str
    spread: str = ""
    standing: Standing | None = None
    note: str = ""

    @property
    def text(self) -> str:
        """Everything but the standing, in one line."""
        return " ".join(filter(None, (self.mean, self.spread, self.note)))


@dataclass(frozen=True)
class Line:
    """One row of the accuracy table: a mark for every compression of the board, then the row's summary."""

    label: str
    marks: tuple[Mark, ...]
    summary: tuple[Mark, ...]


def summary_headers(board: Board) -> list[str]:
    """The columns after those of the compressions; a smoke run has no rank."""
    rank = [] if board.is_smoke_run else ["rank"]
    gaps = (f"{name} gap" for name in _area_ablations(board))
    return [*rank, "area", *_area_differences(board), "intact to", *gaps]


def _area_differences(board: Board) -> list[str]:
    """Which differences of areas some row has."""
    best = ["area to best"] if any(row.area_to_best for row in board.rows) else []
    return [*best, *(["area to baseline"] if any(row.area_to_baseline for row in board.rows) else [])]


def _area_ablations(board: Board) -> list[str]:
    return [name for name in board.ablations if any(name in row.area_gaps for row in board.rows)]


def accuracy_lines(board: Board) -> list[Line]:
    """The accuracy table, row by row."""
    return [
        Line(row.label, tuple(_mark(board, row, value) for value in board.compressions), _summary(board, row))
        for row in board.rows
    ]


def _mark(board: Board, row: Row, value: float) -> Mark:
    entry = row.at(value)
    if entry is None:
        return Mark("" if row.is_dense or value == 1 else BLANK)
    if entry.accuracy is None:
        return Mark("failed" if entry.failed else "skipped")
    return _estimate(board, entry.accuracy, entry.standing)


def _estimate(board: Board, value: Estimate, standing: Standing | None = None) -> Mark:
    note = "" if value.n == len(board.seeds) else f"n={value.n}"
    spread = "" if value.half_width is None else f"±{percent(value.half_width)}"
    return Mark(percent(value.mean), spread, standing, note)


def _summary(board: Board, row: Row) -> tuple[Mark, ...]:
    if row.is_dense:
        return tuple(Mark("") for _ in summary_headers(board))
    rank = [] if board.is_smoke_run else [Mark(str(row.rank) if row.rank else BLANK)]
    area = _estimate(board, row.area, row.area_standing) if row.area else Mark(BLANK)
    best = Mark("best") if row.area_standing == "best" else _difference(row.area_to_best)
    marks = {"area to best": best, "area to baseline": _difference(row.area_to_baseline)}
    differences = (marks[name] for name in _area_differences(board))
    gaps = (_difference(row.area_gaps.get(name)) for name in _area_ablations(board))
    return (*rank, area, *differences, Mark(compression(row.intact_to)), *gaps)


def _difference(estimate: Estimate | None) -> Mark:
    if estimate is None:
        return Mark(BLANK)
    spread = "" if estimate.half_width is None else f"±{percent(estimate.half_width)}"
    return Mark(points(estimate.mean), spread)
