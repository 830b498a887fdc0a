"""A power law through measured points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class PowerLaw:
    """y = factor * x ** slope by least squares of the logarithms; `error` is the slope's standard error.

    `r2` is the share of the variance of log y that it explains.
    """

    factor: float
    slope: float
    error: float
    r2: float

    def __call__(self, x: float) -> float:
        return self.factor * x**self.slope


def fit_power_law(xs: Sequence[float], ys: Sequence[float]) -> PowerLaw:
    """Fit three points or more, all above zero; raises `ValueError` for others."""
    if len(xs) != len(ys) or len(xs) < 3 or min(*xs, *ys) <= 0 or len(set(xs)) < 2:
        raise ValueError("a power law is fitted to three points or more, all above zero, at different places")
    u, v = [math.log(x) for x in xs], [math.log(y) for y in ys]
    count, middle, mean = len(u), sum(u) / len(u), sum(v) / len(v)
    spread = sum((a - middle) ** 2 for a in u)
    slope = sum((a - middle) * (b - mean) for a, b in zip(u, v, strict=True)) / spread
    start = mean - slope * middle
    left = sum((b - start - slope * a) ** 2 for a, b in zip(u, v, strict=True))
    total = sum((b - mean) ** 2 for b in v)
    error = math.sqrt(left / (count - 2) / spread)
    return PowerLaw(math.exp(start), slope, error, 1 - left / total if total else 1.0)
