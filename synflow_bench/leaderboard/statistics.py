"""Means, intervals and paired differences over seeds, and the area under a curve."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Literal

CONFIDENCE = 0.95
FEW_SEEDS = 5
"""With fewer seeds the range of the values is shown, and not an interval of Student's t."""

Standing = Literal["best", "equivalent", "undecided", "worse"]
"""The result of a comparison with the best row. `equivalent` means within the board's margin of it, and
`undecided` that the seeds cannot tell."""
IntervalKind = Literal["range", "t95", "simultaneous"]


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its interval.

    Attributes:
        mean: The mean.
        half_width: The half-width of its interval before it was cut at the possible values; None where `n` is
            1.
        n: The number of seeds.
        low: The lower end of the interval as it is shown; None where `n` is 1.
        high: The upper end.
        kind: `t95` for a 95 % t-interval, `range` for the smallest and largest value of fewer than five
            seeds, whose `half_width` is still that of the t-interval; `simultaneous` for an interval that
            holds together with all others of its board.

    Example:
        >>> estimate([0.4, 0.6]).contains(0.55)
        True
    """

    mean: float
    half_width: float | None
    n: int
    low: float | None = None
    high: float | None = None
    kind: IntervalKind | None = None

    def contains(self, value: float) -> bool | None:
        """Return True if the interval contains `value`, None if there is no interval."""
        return None if self.low is None or self.high is None else self.low <= value <= self.high

    @property
    def is_symmetric(self) -> bool:
        """True if the interval is the mean plus and minus its half-width."""
        if self.kind == "range" or self.half_width is None or self.low is None or self.high is None:
            return False
        below, above = self.mean - self.half_width, self.mean + self.half_width
        return math.isclose(below, self.low, abs_tol=1e-12) and math.isclose(above, self.high, abs_tol=1e-12)


def mean(values: Sequence[float]) -> float:
    """Return the mean of at least one value, correctly rounded whatever the order of `values`."""
    return math.fsum(values) / len(values)


def median(values: Sequence[float]) -> float:
    """Return the median of at least one value."""
    ordered, middle = sorted(values), len(values) // 2
    return ordered[middle] if len(values) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def variance(values: Sequence[float]) -> float:
    """Return the variance of at least two values, by n - 1."""
    middle = mean(values)
    return math.fsum((value - middle) ** 2 for value in values) / (len(values) - 1)


def estimate(values: Sequence[float], *, least: float = 0.0) -> Estimate:
    """Return the mean of one value per seed with its interval.

    From five seeds on it is the 95 % t-interval, t(n - 1) s / sqrt(n), cut at the possible values; with fewer
    the smallest and the largest value.

    Args:
        values: Shares, or differences of shares.
        least: The least possible value: 0 for shares, -1 for differences. The largest is 1.
    """
    n, middle = len(values), mean(values)
    if n == 1:
        return Estimate(middle, None, n)
    half_width = t_quantile(n - 1) * math.sqrt(variance(values) / n)
    if n < FEW_SEEDS:
        return Estimate(middle, half_width, n, min(values), max(values), "range")
    return within(middle, half_width, n, "t95", least=least)


def within(middle: float, half_width: float, n: int, kind: IntervalKind, *, least: float) -> Estimate:
    """Return an estimate whose interval is cut at the possible values, `least` to 1."""
    low, high = max(least, middle - half_width), min(1.0, middle + half_width)
    return Estimate(middle, half_width, n, low, high, kind)


def paired_difference(row: Mapping[int, float], reference: Mapping[int, float]) -> Estimate | None:
    """Return `row - reference` (seed -> accuracy) over the seeds that both have; None if they share none."""
    common = sorted(row.keys() & reference.keys())
    return estimate([row[seed] - reference[seed] for seed in common], least=-1.0) if common else None


def area_under_curve(compressions: Sequence[float], accuracies: Sequence[float]) -> float:
    """Return the area under accuracy against log compression, divided by the width of the range."""
    widths = [math.log(after / before) for before, after in pairwise(compressions)]
    heights = [(before + after) / 2 for before, after in pairwise(accuracies)]
    area = math.fsum(width * height for width, height in zip(widths, heights, strict=True))
    return area / math.fsum(widths)


@cache
def t_quantile(degrees: int, confidence: float = CONFIDENCE) -> float:
    """Return t with P(|T| <= t) = `confidence` under Student's distribution.

    `degrees` is the number of degrees of freedom. Bisects the angle atan(t / sqrt(degrees)), which is
    bounded. Importing scipy for this one number would take longer than the rest of the leaderboard.
    """
    low, high = 0.0, math.pi / 2
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if _central_mass(middle, degrees) < confidence else (low, middle)
    return math.sqrt(degrees) * math.tan(low)


def _central_mass(angle: float, degrees: int) -> float:
    """Return P(|T| <= sqrt(degrees) tan(angle)) by sums (Abramowitz & Stegun 1964, 26.7.3 and 26.7.4)."""
    cosine, odd = math.cos(angle), degrees % 2
    term, total = (cosine if odd else 1.0), 0.0
    for step in range(1 + odd, degrees, 2):
        total += term
        term *= cosine**2 * step / (step + 1)
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
