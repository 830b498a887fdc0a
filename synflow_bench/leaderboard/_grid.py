"""The two tables of a board as text, before any format dresses them."""

from __future__ import annotations

from dataclasses import dataclass

from synflow_bench.leaderboard._board import Board, Entry, Row, Standing
from synflow_bench.leaderboard._statistics import Estimate
from synflow_bench.leaderboard._text import BLANK, compression, factor, percent, seconds


@dataclass(frozen=True)
class Mark:
    """One accuracy: its mean, `±half-width`, its standing, and `n=..` where seeds are missing."""

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
    """One row of the accuracy table: a mark for every compression of the board."""

    label: str
    marks: tuple[Mark, ...]
    area: Mark
    intact_to: str


def accuracy_lines(board: Board) -> list[Line]:
    """The accuracy table, row by row."""
    return [_line(board, row) for row in board.rows]


def _line(board: Board, row: Row) -> Line:
    marks = tuple(_mark(board, row, value) for value in board.compressions)
    if row.is_dense:
        return Line(row.label, marks, Mark(""), "")
    area = _estimate(board, row.area) if row.area else Mark(BLANK)
    return Line(row.label, marks, area, compression(row.intact_to))


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


DETAIL_HEADERS = (
    "pruner",
    "asked",
    "achieved",
    "effective",
    "speedup",
    "prune s",
    "n",
    "collapsed",
    "notes",
)


def detail_table(board: Board) -> tuple[list[str], list[list[str]]]:
    """Headers and rows, one a pruner and compression; columns that would be empty throughout are left out."""
    rows = [_details(row, entry) for row in board.rows for entry in row.entries]
    always = set(DETAIL_HEADERS) - {"effective", "notes"}
    used = [
        index
        for index, header in enumerate(DETAIL_HEADERS)
        if header in always or any(row[index] not in {"", BLANK} for row in rows)
    ]
    return [DETAIL_HEADERS[index] for index in used], [[row[index] for index in used] for row in rows]


def _details(row: Row, entry: Entry) -> list[str]:
    return [
        row.label,
        compression(entry.compression),
        factor(entry.achieved_compression),
        factor(entry.effective_compression),
        factor(entry.theoretical_speedup),
        seconds(entry.prune_seconds),
        str(len(entry.top1)),
        ", ".join(f"{layer.layer} {layer.seeds}/{len(entry.top1)}" for layer in entry.collapsed),
        ", ".join(_notes(entry)),
    ]


def _notes(entry: Entry) -> list[str]:
    counts = {"failed": entry.failed, "skipped": entry.skipped, "diverged": entry.diverged}
    return [f"{number} {what}" for what, number in counts.items() if number]
