"""Areas under accuracy against log compression, over the compressions that most rows share."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

from synflow_bench.leaderboard._board import PUBLISHED_COMPRESSIONS, PUBLISHED_SEEDS, Entry, Row
from synflow_bench.leaderboard._statistics import estimate


def with_areas(rows: Iterable[Row]) -> tuple[list[Row], tuple[float, ...]]:
    """The rows with their areas, and the compressions that these are over."""
    given = list(rows)
    compressions = shared_compressions(given)
    return [_measured(row, compressions) for row in given], compressions


def shared_compressions(rows: Sequence[Row]) -> tuple[float, ...]:
    """The compressions above 1 that most competing rows have with three seeds or more, all together.

    With fewer seeds everywhere, one is enough; where nothing competes, the ablations count.
    """
    rivals = [row for row in rows if row.competes] or [row for row in rows if not row.is_dense]
    for least in (PUBLISHED_SEEDS, 1):
        found = [own for row in rivals if (own := _compressions(row, least))]
        if found:
            return _commonest(found)
    return ()


def _commonest(found: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    """Of what equally many rows have, what is enough to publish, then what most rows have among more."""
    counts = Counter(found)
    having = {each: sum(count for own, count in counts.items() if {*own} >= {*each}) for each in counts}
    return max(
        counts,
        key=lambda each: (counts[each], len(each) >= PUBLISHED_COMPRESSIONS, having[each], len(each), each),
    )


def _compressions(row: Row, least: int) -> tuple[float, ...]:
    return tuple(
        entry.compression for entry in row.entries if entry.compression > 1 and len(entry.top1) >= least
    )


def _measured(row: Row, compressions: Sequence[float]) -> Row:
    areas = _areas(row.entries, compressions)
    return replace(row, areas=areas, area=estimate(list(areas.values())) if areas else None)


def _areas(entries: Sequence[Entry], compressions: Sequence[float]) -> dict[int, float]:
    by_compression = {entry.compression: entry.top1 for entry in entries}
    if len(compressions) < 2 or any(compression not in by_compression for compression in compressions):
        return {}
    curves = [by_compression[compression] for compression in compressions]
    seeds = sorted(set[int].intersection(*(set(curve) for curve in curves)))
    return {seed: _trapezoid(compressions, [curve[seed] for curve in curves]) for seed in seeds}


def _trapezoid(compressions: Sequence[float], accuracies: Sequence[float]) -> float:
    """The area under `accuracies` against log compression, divided by the width of the range."""
    widths = [math.log(after / before) for before, after in pairwise(compressions)]
    heights = [(before + after) / 2 for before, after in pairwise(accuracies)]
    return math.fsum(width * height for width, height in zip(widths, heights, strict=True)) / math.fsum(
        widths
    )
