"""Which row is best at a compression or by area, how far the others are from it, and which cannot be told
from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from synflow_bench.leaderboard._board import Entry, Row, Standing
from synflow_bench.leaderboard._statistics import Estimate, mean, paired_difference

BySeed = Mapping[int, float]
Seeds = frozenset[int]


def with_standings(rows: Sequence[Row], compressions: Iterable[float]) -> list[Row]:
    """The rows with all that compares them with the best filled in; only rows that compete can be it."""
    rivals = [row for row in rows if row.competes]
    entries = {value: [entry.top1 for row in rivals if (entry := row.at(value))] for value in compressions}
    best = {value: _best(candidates) for value, candidates in entries.items()}
    best_area = _best([row.areas for row in rivals])
    return [_placed(row, best, best_area) if row.competes else row for row in rows]


def _best(candidates: Iterable[BySeed]) -> BySeed | None:
    """The one with the highest mean over the seeds that are compared, or None where no best can be claimed.

    Means over different seeds say little: seeds differ more than rows do.
    """
    rivals = [(frozenset(each), each) for each in candidates if len(each) > 1]
    seeds = _compared_seeds([own for own, _ in rivals])
    having_them = [each for own, each in rivals if own >= seeds]
    return max(having_them, key=lambda each: mean([each[seed] for seed in sorted(seeds)])) if seeds else None


def _compared_seeds(rivals: Sequence[Seeds]) -> Seeds:
    """Two seeds or more that two rows or more have: those for which rows times seeds is largest."""
    found = set(rivals)
    shared = found | {one & other for one, other in combinations(found, 2)}
    rows = {seeds: sum(own >= seeds for own in rivals) for seeds in shared if len(seeds) > 1}
    claimed = [seeds for seeds, having in rows.items() if having > 1]
    return max(
        claimed,
        key=lambda seeds: (rows[seeds] * len(seeds), len(seeds), sorted(seeds)),
        default=frozenset(),
    )


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
    return _standing(difference), difference


def _standing(difference: Estimate | None) -> Standing:
    """What is better than the best over other seeds than those it was chosen by is not worse."""
    tie = difference.contains(0.0) if difference else None
    if difference is None or tie is None:
        return "undecided"
    if tie:
        return "tie"
    return "worse" if difference.mean < 0 else "undecided"
