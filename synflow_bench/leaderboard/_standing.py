"""Which row is best at a compression or by area, how far the others are from it, and which cannot be told
from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from synflow_bench.leaderboard._board import Entry, Row, Standing
from synflow_bench.leaderboard._statistics import Estimate, mean, paired_difference

BySeed = Mapping[int, float]


def with_standings(rows: Sequence[Row], compressions: Iterable[float]) -> list[Row]:
    """The rows with all that compares them with the best filled in; only rows that compete can be it."""
    rivals = [row for row in rows if row.competes]
    entries = {value: [entry.top1 for row in rivals if (entry := row.at(value))] for value in compressions}
    best = {value: _best(candidates) for value, candidates in entries.items()}
    best_area = _best([row.areas for row in rivals])
    return [_placed(row, best, best_area) if row.competes else row for row in rows]


def _best(candidates: Iterable[BySeed]) -> BySeed | None:
    """The one with the highest mean, or None: with one row, or one seed, no best can be claimed."""
    rivals = [each for each in candidates if len(each) > 1]
    return max(rivals, key=lambda each: mean(list(each.values()))) if len(rivals) > 1 else None


def _placed(row: Row, best: Mapping[float, BySeed | None], best_area: BySeed | None) -> Row:
    standing, difference = _compared(row.areas, best_area)
    entries = tuple(_entry(entry, best[entry.compression]) for entry in row.entries)
    return replace(row, entries=entries, area_standing=standing, area_to_best=difference)


def _entry(entry: Entry, best: BySeed | None) -> Entry:
    standing, difference = _compared(entry.top1, best)
    return replace(entry, standing=standing, to_best=difference)


def _compared(own: BySeed, best: BySeed | None) -> tuple[Standing | None, Estimate | None]:
    if best is None or not own:
        return None, None
    if own is best:
        return "best", None
    difference = paired_difference(own, best)
    tie = difference.contains(0.0) if difference else None
    return "undecided" if tie is None else "tie" if tie else "worse", difference
