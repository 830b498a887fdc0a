"""Comparisons of the rows of a board with the best row of each column, valid for all of them at once."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import combinations
from operator import mul
from random import Random

from synflow_bench.leaderboard.board import MARGIN, BoardRow, RankRange
from synflow_bench.leaderboard.simultaneous import (
    ERROR,
    FEWEST_SEEDS,
    critical_value,
    seeds_needed,
    spreads,
    standard_error,
)
from synflow_bench.leaderboard.statistics import Estimate, Standing, mean, paired_difference, within

BySeed = Mapping[int, float]
Seeds = frozenset[int]

RESAMPLES = 1000
SEED = 20260


@dataclass(frozen=True)
class RowComparison:
    """The comparison of one row with the best row of a column.

    Attributes:
        standing: The verdict; None where there is nothing to compare with.
        to_best: This row minus the best, with its simultaneous interval.
        uncorrected: The same with the interval of this pair alone.
        seeds_needed: The seeds that would separate the two, where nothing can be told.
    """

    standing: Standing | None = None
    to_best: Estimate | None = None
    uncorrected: Estimate | None = None
    seeds_needed: int | None = None


@dataclass(frozen=True)
class ComparedColumn:
    """The values of all rows that compete in one column, and what decides between them.

    Attributes:
        values: Label -> the values by seed.
        seeds: The seeds over which the best is chosen; empty where no best can be named.
        error: The probability of a false claim in this column.
        margin: The difference up to which two rows are equivalent.
    """

    values: Mapping[str, BySeed]
    seeds: Seeds
    error: float
    margin: float

    @classmethod
    def of(cls, values: Mapping[str, BySeed], error: float = ERROR, margin: float = MARGIN) -> ComparedColumn:
        """Return the column of these values; rows without any value are left out."""
        finished = {label: own for label, own in values.items() if own}
        return cls(finished, _compared_seeds([frozenset(own) for own in finished.values()]), error, margin)

    @cached_property
    def complete(self) -> list[str]:
        """The rows that have all seeds over which the best is chosen."""
        return [label for label, own in self.values.items() if self.seeds and self.seeds <= own.keys()]

    @property
    def best(self) -> str | None:
        """The row with the highest mean over the compared seeds; means over other seeds would say little."""
        seeds = sorted(self.seeds)
        means = {label: mean([self.values[label][seed] for seed in seeds]) for label in self.complete}
        return max(means, key=lambda label: means[label]) if means else None

    @property
    def rows(self) -> int:
        """The number of rows that are compared."""
        return sum(len(own) > 1 for own in self.values.values())

    def compare(self) -> dict[str, RowComparison]:
        """Return the comparison of every row with the best."""
        best = self.best
        if best is None:
            return dict.fromkeys(self.values, RowComparison("undecided")) if len(self.values) > 1 else {}
        return {
            label: RowComparison("best") if label == best else self._with(best, label)
            for label in self.values
        }

    def flattery(self) -> float | None:
        """Return the estimated excess of the best mean because it was chosen; None without a best."""
        return selection_bias(self._matrix(self.complete, sorted(self.seeds))) if self.seeds else None

    def difference(self, label: str, other: str) -> Estimate | None:
        """Return one row minus another, with an interval that holds for all pairs of the board together.

        Args:
            label: A row.
            other: A row that has all seeds over which the best is chosen.

        Returns:
            The difference; None where too few of these seeds are common.
        """
        common = sorted(self.seeds & self.values[label].keys())
        if len(common) < FEWEST_SEEDS:
            return None
        middle = mean([self.values[label][seed] - self.values[other][seed] for seed in common])
        error = standard_error(*self._spreads_of(label, other, common), len(common))
        width = critical_value(self.rows, len(common), self.error) * error
        return within(middle, width, len(common), "simultaneous", least=-1.0)

    def _spreads_of(self, label: str, other: str, common: Sequence[int]) -> tuple[float, float]:
        deviations: Mapping[str, float] = self._deviations
        if len(common) < len(self.seeds):
            rows = [*self.complete, label]
            deviations = dict(zip(rows, spreads(self._matrix(rows, common)), strict=True))
        return deviations[other], deviations[label]

    def _with(self, best: str, label: str) -> RowComparison:
        uncorrected = paired_difference(self.values[label], self.values[best])
        to_best = self.difference(label, best)
        if to_best is None:
            return RowComparison("undecided", None, uncorrected)
        standing = verdict(to_best, self.margin)
        needed = None
        if standing == "undecided":
            common = sorted(self.seeds & self.values[label].keys())
            one, other = self._spreads_of(label, best, common)
            needed = seeds_needed(to_best.mean, one, other, self.rows, self.error)
        return RowComparison(standing, to_best, uncorrected, needed)

    @cached_property
    def _deviations(self) -> dict[str, float]:
        """The spreads of the rows that have all compared seeds."""
        return dict(zip(self.complete, spreads(self._matrix(self.complete, sorted(self.seeds))), strict=True))

    def _matrix(self, labels: Sequence[str], seeds: Sequence[int]) -> list[list[float]]:
        return [[self.values[label][seed] for seed in seeds] for label in labels]

    def rank_ranges(self) -> dict[str, RankRange]:
        """Return the ranks that the pairwise differences allow, for all rows together.

        A row is not below one from which it is not separated. A row that lacks some of the compared seeds is
        separated from none.
        """
        labels, seeds, total = self.complete, sorted(self.seeds), len(self.values)
        ranges = {label: RankRange(1, total) for label in self.values}
        if len(seeds) < FEWEST_SEEDS or len(labels) < 2:
            return ranges
        matrix = self._matrix(labels, seeds)
        means, deviations = [mean(row) for row in matrix], [self._deviations[label] for label in labels]
        critical = critical_value(self.rows, len(seeds), self.error)
        for own, label in enumerate(labels):
            better = worse = 0
            for other in range(len(labels)):
                difference = means[other] - means[own]
                error = standard_error(deviations[own], deviations[other], len(seeds))
                better += difference > critical * error
                worse += -difference > critical * error
            ranges[label] = RankRange(1 + better, total - worse)
        return ranges


def verdict(to_best: Estimate, margin: float) -> Standing:
    """Return the standing of a row with this simultaneous interval of its difference from the best.

    A row that is better than the best, over seeds by which the best was not chosen, is undecided.
    """
    if to_best.low is None or to_best.high is None:
        return "undecided"
    if -margin <= to_best.low and to_best.high <= margin:
        return "equivalent"
    return "worse" if to_best.high < 0 else "undecided"


def selection_bias(values: Sequence[Sequence[float]]) -> float:
    """Return the bootstrap's estimate of the excess of the best mean over its true mean.

    Resamples seeds, which all rows share, chooses the best again, and averages its excess over its own mean.
    The factor corrects the spread of a resample, which is too small by it.

    Args:
        values: For each row, one value per seed, of two seeds or more.
    """
    seeds = len(values[0])
    means = [mean(row) for row in values]
    total = 0.0
    for weights, times in _resamples(seeds):
        best, row = max((sum(map(mul, weights, own)), number) for number, own in enumerate(values))
        total += times * (best / seeds - means[row])
    return max(0.0, total / RESAMPLES * math.sqrt(seeds / (seeds - 1)))


@cache
def _resamples(seeds: int) -> list[tuple[tuple[int, ...], int]]:
    """Return the number of times that each seed is in a resample, with the number of such resamples."""
    draw = Random(SEED)  # noqa: S311  a bootstrap
    drawn = ([int(seeds * draw.random()) for _ in range(seeds)] for _ in range(RESAMPLES))
    counted = Counter(tuple(each.count(seed) for seed in range(seeds)) for each in drawn)
    return sorted(counted.items())


def _compared_seeds(rivals: Sequence[Seeds]) -> Seeds:
    """Return the set of at least two seeds, shared by two rows, for which rows times seeds is largest."""
    found = set(rivals)
    shared = found | {one & other for one, other in combinations(found, 2)}
    rows = {seeds: sum(own >= seeds for own in rivals) for seeds in shared if len(seeds) > 1}
    comparable = [seeds for seeds, having in rows.items() if having > 1]
    return max(
        comparable,
        key=lambda seeds: (rows[seeds] * len(seeds), len(seeds), sorted(seeds)),
        default=frozenset(),
    )


def with_standings(
    rows: Sequence[BoardRow], compressions: Iterable[float], margin: float = MARGIN
) -> tuple[list[BoardRow], int]:
    """Return the rows with their comparisons with the best rows, and the number of columns that are compared.

    Only rows that compete can be the best. All pairs of rows in all columns, the AUC included, share one
    error.
    """
    rivals = [row for row in rows if row.competes]
    curves = {
        value: {row.label: point.top1 for row in rivals if (point := row.at(value))} for value in compressions
    }
    aucs = {row.label: row.aucs for row in rivals}
    compared = sum(bool(ComparedColumn.of(values).seeds) for values in (*curves.values(), aucs))
    error = ERROR / max(1, compared)
    found = {value: ComparedColumn.of(values, error, margin).compare() for value, values in curves.items()}
    auc_column = ComparedColumn.of(aucs, error, margin)
    of_auc, ranges, flattery = auc_column.compare(), auc_column.rank_ranges(), auc_column.flattery()
    shown = [
        _with_standing(row, found, of_auc.get(row.label, RowComparison()), ranges.get(row.label), flattery)
        if row.competes
        else row
        for row in rows
    ]
    return shown, compared


def _with_standing(
    row: BoardRow,
    found: Mapping[float, Mapping[str, RowComparison]],
    of_auc: RowComparison,
    ranks: RankRange | None,
    flattery: float | None,
) -> BoardRow:
    points = []
    for point in row.points:
        compared = found[point.compression].get(row.label, RowComparison())
        points.append(
            replace(
                point,
                standing=compared.standing,
                to_best=compared.to_best,
                to_best_uncorrected=compared.uncorrected,
                seeds_needed=compared.seeds_needed,
            )
        )
    return replace(
        row,
        points=tuple(points),
        rank_range=ranks,
        auc_standing=of_auc.standing,
        auc_to_best=of_auc.to_best,
        auc_to_best_uncorrected=of_auc.uncorrected,
        auc_seeds_needed=of_auc.seeds_needed,
        auc_flattery=flattery if of_auc.standing == "best" else None,
    )
