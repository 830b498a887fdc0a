"""Differences between all pairs of rows of a column, valid for all of them at once.

Every claim on a board rests on the largest statistic among all pairs of rows, so that a row may be chosen as
the best by the same data. The critical values come from simulated boards on which all rows are equal
(`critical_values.csv`, written by `benchmarks/null_boards.py`); decision 26 has the reasons.
"""

from __future__ import annotations

import csv
import math
from bisect import bisect_right
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from synflow_bench.leaderboard.statistics import FEW_SEEDS, mean, median

ERROR = 0.05
"""The probability of any false claim on a board."""
POWER = 0.8
"""The probability with which the seeds needed separate two rows."""
FEWEST_SEEDS = 3
MOST_SEEDS = 100
"""The fewest seeds from which anything is claimed, and the most that are searched for the seeds needed."""
_TABLE = Path(__file__).with_name("critical_values.csv")
_ROUNDING = 1e-12
_NORMAL_QUANTILE = 0.8416
"""The quantile of the normal distribution at `POWER`."""


def spreads(values: Sequence[Sequence[float]]) -> list[float]:
    """Return the spread over seeds of every row, for comparisons.

    It is the row's own standard deviation, after the median effect of each seed on all rows is taken away, or
    the median of these deviations over all rows, whichever is larger. A row that happens to vary little over
    few seeds therefore proves nothing alone, and a noisy row stays noisy. With fewer than five seeds the mean
    takes the place of the median: where single cells collapse, most rows of so few seeds have none of them.

    Args:
        values: For each of two rows or more, one accuracy per seed, of two seeds or more.

    Returns:
        One deviation per row.

    Example:
        >>> spreads([[0.5, 0.75, 1.0], [0.25, 0.5, 0.75]])
        [0.0, 0.0]
    """
    rows, seeds = len(values), len(values[0])
    centered = [_centered(row) for row in values]
    effects = [median(column) for column in zip(*centered, strict=True)]
    left = [
        _centered([value - effect for value, effect in zip(row, effects, strict=True)]) for row in centered
    ]
    factor = rows / (rows - 1) / (seeds - 1)
    own = [math.sqrt(factor * math.fsum(value**2 for value in row)) for row in left]
    least = mean(own) if seeds < FEW_SEEDS else median(own)
    # Equal differences leave a rest of rounding, which must not count as a spread.
    return [0.0 if each < _ROUNDING else each for each in (max(each, least) for each in own)]


def _centered(row: Sequence[float]) -> list[float]:
    middle = mean(row)
    return [value - middle for value in row]


def standard_error(one: float, other: float, seeds: int) -> float:
    """Return the standard error of the difference of two means with these spreads."""
    return math.sqrt((one**2 + other**2) / seeds)


@cache
def critical_value(rows: int, seeds: int, error: float) -> float:
    """Return the value that no pair of equal rows exceeds, with probability 1 - `error`.

    Interpolates linearly between the logarithms of the simulated values. Above the largest tabulated number
    of seeds the value of that number is taken, which is slightly too large.

    Args:
        rows: The number of rows that are compared, two or more.
        seeds: The number of seeds, `FEWEST_SEEDS` or more.
        error: The probability of a false claim in this column.
    """
    table = _critical_values()
    all_seeds = sorted({seeds for _, seeds in table})
    all_rows = sorted({rows for rows, _ in table})
    at = [(_between(all_rows, rows), rows), (_between(all_seeds, min(seeds, all_seeds[-1])), seeds)]
    (few, many), (short, long) = at[0][0], at[1][0]
    corners = [[_at_error(table[r, s], error) for s in (short, long)] for r in (few, many)]
    along = [_line(min(seeds, all_seeds[-1]), (short, long), values) for values in corners]
    return math.exp(_line(rows, (few, many), along))


def _between(grid: Sequence[int], value: int) -> tuple[int, int]:
    """Return the two neighbors on the grid; beyond its end its last two."""
    index = min(max(bisect_right(grid, value) - 1, 0), len(grid) - 2)
    return grid[index], grid[index + 1]


def _line(value: float, ends: tuple[float, float], heights: Sequence[float]) -> float:
    share = math.log(value / ends[0]) / math.log(ends[1] / ends[0])
    return heights[0] + share * (heights[1] - heights[0])


def _at_error(column: Sequence[tuple[float, float]], error: float) -> float:
    """Return the logarithm of the value at `error`, from (error, value) with increasing errors."""
    errors = [each for each, _ in column]
    index = min(max(bisect_right(errors, error) - 1, 0), len(errors) - 2)
    (low, high_value), (high, low_value) = column[index], column[index + 1]
    return _line(error, (low, high), (math.log(high_value), math.log(low_value)))


@cache
def _critical_values() -> dict[tuple[int, int], list[tuple[float, float]]]:
    """Return (rows, seeds) -> the errors, increasing, with their values."""
    with _TABLE.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    return {
        (int(line.pop("rows")), int(line.pop("seeds"))): sorted(
            (float(error), float(value)) for error, value in line.items()
        )
        for line in lines
    }


def seeds_needed(difference: float, one: float, other: float, rows: int, error: float) -> int | None:
    """Return the seeds with which two rows are separated in four of five repetitions.

    Takes the observed difference and spreads for the true ones.

    Args:
        difference: The difference of the two means, of any sign.
        one: The spread of one row.
        other: The spread of the other.
        rows: The number of rows that are compared.
        error: The probability of a false claim in this column.

    Returns:
        The number of seeds; None above `MOST_SEEDS`.
    """
    gap = abs(difference)
    spread = math.hypot(one, other)
    gaps = enumerate(_gaps(rows, error), start=FEWEST_SEEDS)
    return next((seeds for seeds, found in gaps if found * spread <= gap), None)


@cache
def _gaps(rows: int, error: float) -> list[float]:
    """Return for each number of seeds the gap that is found with probability `POWER`, per unit of spread."""
    gaps = []
    for seeds in range(FEWEST_SEEDS, MOST_SEEDS + 1):
        critical = critical_value(rows, seeds, error)
        # The statistic varies by one, and with the two spreads, estimates of seeds - 1 degrees each.
        deviation = math.sqrt(1 + critical**2 / (4 * (seeds - 1)))
        gaps.append((critical + _NORMAL_QUANTILE * deviation) / math.sqrt(seeds))
    return gaps
