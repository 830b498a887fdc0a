"""The table of details: one line a row and compression."""

from __future__ import annotations

from collections.abc import Iterator

from synflow_bench.leaderboard._board import Board, Entry, Row
from synflow_bench.leaderboard._text import BLANK, compression, factor, points_estimate, seconds

_ALWAYS = frozenset({"pruner", "asked", "n"})
"""Columns that are there even where they are empty throughout."""

TEXT = frozenset({"pruner", "collapsed", "notes"})
"""Columns of words, not numbers."""


def detail_table(board: Board) -> tuple[list[str], list[list[str]]]:
    """Headers and rows, one a pruner and compression; columns that would be empty throughout are left out."""
    rows = [dict(_details(board, row, entry)) for row in board.rows for entry in row.entries]
    headers = [name for name in _headers(board) if name in _ALWAYS or _is_used(name, rows)]
    return headers, [[row[header] for header in headers] for row in rows]


def _is_used(name: str, rows: list[dict[str, str]]) -> bool:
    return any(row[name] not in {"", BLANK} for row in rows)


def _headers(board: Board) -> list[str]:
    measured = ["pruner", "asked", "achieved", "effective", "speedup", "prune s", "n", "to best"]
    baseline = ["to baseline"] if board.baseline else []
    gaps = [f"{name} gap" for name in board.ablations]
    return [*measured, *baseline, *gaps, "collapsed", "notes"]


def _details(board: Board, row: Row, entry: Entry) -> Iterator[tuple[str, str]]:
    yield "pruner", row.label
    yield "asked", compression(entry.compression)
    yield "achieved", factor(entry.achieved_compression)
    yield "effective", factor(entry.effective_compression)
    yield "speedup", factor(entry.theoretical_speedup)
    yield "prune s", seconds(entry.prune_seconds)
    yield "n", str(len(entry.top1))
    yield "to best", "best" if entry.standing == "best" else points_estimate(entry.to_best)
    yield "to baseline", points_estimate(entry.to_baseline)
    yield from ((f"{name} gap", points_estimate(entry.gaps.get(name))) for name in board.ablations)
    yield "collapsed", ", ".join(f"{each.layer} {each.seeds}/{len(entry.top1)}" for each in entry.collapsed)
    yield "notes", ", ".join(_notes(entry))


def _notes(entry: Entry) -> list[str]:
    counts = {"failed": entry.failed, "skipped": entry.skipped, "diverged": entry.diverged}
    return [f"{number} {what}" for what, number in counts.items() if number]
