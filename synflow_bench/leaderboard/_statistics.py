"""Means, 95 % t-intervals and paired differences over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` seeds; `half_width` is that of its 95 % t-interval, None where `n` is 1."""

    mean: float
    half_width: float | None
    n: int

    def contains(self, value: float) -> bool | None:
        """Whether the interval contains `value`; None where there is no interval."""
        return None if self.half_width is None else abs(self.mean - value) <= self.half_width


def mean(values: Sequence[float]) -> float:
    """The mean, correctly rounded whatever the order of `values`; they must not be empty."""
    return math.fsum(values) / len(values)


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of `values`, one a seed, and its 95 % t-interval: t(n - 1) s / sqrt(n)."""
    n, middle = len(values), mean(values)
    if n == 1:
        return Estimate(middle, None, n)
    variance = math.fsum((value - middle) ** 2 for value in values) / (n - 1)
    return Estimate(middle, t_quantile(n - 1) * math.sqrt(variance / n), n)


def paired_difference(best: Mapping[int, float], row: Mapping[int, float]) -> Estimate | None:
    """`best - row` (seed -> accuracy) over the seeds that both have; None where there is none."""
    common = sorted(best.keys() & row.keys())
    return estimate([best[seed] - row[seed] for seed in common]) if common else None


def tied(best: Mapping[int, float], row: Mapping[int, float]) -> bool | None:
    """Whether the paired 95 % interval of `best - row` contains zero; None below two common seeds."""
    difference = paired_difference(best, row)
    return None if difference is None else difference.contains(0.0)


@cache
def t_quantile(degrees: int, confidence: float = CONFIDENCE) -> float:
    """The t with P(|T| <= t) = `confidence` under Student's distribution with `degrees` degrees of freedom.

    By bisection over the angle atan(t / sqrt(degrees)), which is bounded. Importing scipy for this one number
    would take longer than all the rest of the leaderboard.
    """
    low, high = 0.0, math.pi / 2
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if _central_mass(middle, degrees) < confidence else (low, middle)
    return math.sqrt(degrees) * math.tan(low)


def _central_mass(angle: float, degrees: int) -> float:
    """P(|T| <= sqrt(degrees) tan(angle)): finite sums (Abramowitz & Stegun 1964, 26.7.3 and 26.7.4)."""
    cosine, odd = math.cos(angle), degrees % 2
    term, total = (cosine if odd else 1.0), 0.0
    for step in range(1 + odd, degrees, 2):
        total += term
        term *= cosine**2 * step / (step + 1)
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
