"""Differences from a row of the reader's choice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from synflow_bench.errors import UnknownNameError, UsageError
from synflow_bench.leaderboard._board import Board, Entry, Row
from synflow_bench.leaderboard._statistics import paired_difference


def with_baseline(boards: Iterable[Board], name: str) -> list[Board]:
    """The boards with `to_baseline` filled in; a board without that row stays as it is.

    `name` is a row's label, or the name of a pruner that has one row. The dense network is compared at its
    only compression, 1, with every compression of the others. Raises `UnknownNameError` where no board has
    the row, `UsageError` where a pruner has several.
    """
    given = list(boards)
    known = {known for board in given for row in board.rows for known in (row.label, row.pruner)}
    if given and name not in known:
        raise UnknownNameError("recorded row", name, known)
    return [_compared(board, row) if (row := _find(board, name)) else board for board in given]


def _find(board: Board, name: str) -> Row | None:
    labelled = [row for row in board.rows if row.label == name]
    found = labelled or [row for row in board.rows if row.pruner == name]
    if len(found) > 1:
        labels = ", ".join(repr(row.label) for row in found)
        raise UsageError(f"pruner {name!r} has several rows in {board.heading!r}; name one of {labels}")
    return found[0] if found else None


def _compared(board: Board, baseline: Row) -> Board:
    rows: Sequence[Row] = [row if row is baseline else _against(row, baseline) for row in board.rows]
    return replace(board, rows=tuple(rows), baseline=baseline.label)


def _against(row: Row, baseline: Row) -> Row:
    return replace(
        row,
        entries=tuple(_entry(entry, baseline) for entry in row.entries),
        area_to_baseline=paired_difference(row.areas, baseline.areas),
    )


def _entry(entry: Entry, baseline: Row) -> Entry:
    other = baseline.at(1.0 if baseline.is_dense else entry.compression)
    return replace(entry, to_baseline=paired_difference(entry.top1, other.top1) if other else None)
