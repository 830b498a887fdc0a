"""Means, 95 % t-intervals and paired differences over seeds, and the area under a curve."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Literal

CONFIDENCE = 0.95

Standing = Literal["best", "tie", "worse", "undecided"]
"""The result of a comparison with the best row. `undecided` means fewer than two common seeds, or a row that
is better than the best over seeds by which the best was not chosen."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its interval.

    Attributes:
        mean: The mean.
        half_width: The half-width of its 95 % t-interval; None where `n` is 1.
        n: The number of seeds.

    Example:
        >>> estimate([0.4, 0.6]).contains(0.0)
        True
    """

    mean: float
    half_width: float | None
    n: int

    def contains(self, value: float) -> bool | None:
        """Return True if the interval contains `value`, None if there is no interval."""
        return None if self.half_width is None else abs(self.mean - value) <= self.half_width


def mean(values: Sequence[float]) -> float:
    """Return the mean of at least one value, correctly rounded whatever the order of `values`."""
    return math.fsum(values) / len(values)


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean of one value per seed, with its 95 % t-interval: t(n - 1) s / sqrt(n)."""
    n, middle = len(values), mean(values)
    if n == 1:
        return Estimate(middle, None, n)
    variance = math.fsum((value - middle) ** 2 for value in values) / (n - 1)
    return Estimate(middle, t_quantile(n - 1) * math.sqrt(variance / n), n)


def paired_difference(row: Mapping[int, float], reference: Mapping[int, float]) -> Estimate | None:
    """Return `row - reference` (seed -> accuracy) over the seeds that both have; None if they share none."""
    common = sorted(row.keys() & reference.keys())
    return estimate([row[seed] - reference[seed] for seed in common]) if common else None


def standing_of(difference: Estimate | None) -> Standing:
    """Return the standing of a row whose paired difference from the best row is `difference`.

    A row that is better than the best, over seeds by which the best was not chosen, is undecided.
    """
    tied = difference.contains(0.0) if difference else None
    if difference is None or tied is None:
        return "undecided"
    if tied:
        return "tie"
    return "worse" if difference.mean < 0 else "undecided"


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
