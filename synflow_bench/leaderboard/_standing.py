"""Which row is best at a compression, and which cannot be told from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from synflow_bench.leaderboard._board import Entry, Row, Standing
from synflow_bench.leaderboard._statistics import tied


def with_standings(rows: Sequence[Row], compressions: Iterable[float]) -> list[Row]:
    """The rows with the `standing` of every entry filled in; the dense row does not compete."""
    best = {compression: _best(rows, compression) for compression in compressions}
    return [row if row.is_dense else _placed(row, best) for row in rows]


def _best(rows: Sequence[Row], compression: float) -> Entry | None:
    """The entry with the highest mean, or None: with one row, or one seed, no best can be claimed."""
    entries = [entry for row in rows if not row.is_dense and (entry := row.at(compression)) is not None]
    rivals = [entry for entry in entries if len(entry.top1) > 1]
    return max(rivals, key=_mean) if len(rivals) > 1 else None


def _mean(entry: Entry) -> float:
    return entry.accuracy.mean if entry.accuracy else float("-inf")


def _placed(row: Row, best: dict[float, Entry | None]) -> Row:
    return replace(
        row,
        entries=tuple(
            replace(entry, standing=_standing(entry, best[entry.compression])) for entry in row.entries
        ),
    )


def _standing(entry: Entry, best: Entry | None) -> Standing | None:
    if best is None or not entry.top1:
        return None
    if entry is best:
        return "best"
    tie = tied(best.top1, entry.top1)
    return "undecided" if tie is None else "tie" if tie else "worse"
