"""Sharing a number of weights among layers: by a rule, within limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import fsum

Shares = dict[str, float]


def fill(
    weights: Mapping[str, float],
    total: float,
    most: Mapping[str, float],
    least: Mapping[str, float] | None = None,
) -> Shares:
    """Shares in proportion to `weights`, none above `most` or below `least` (0 if not named), in sum `total`.

    What a limit takes or leaves is shared again among the others, in proportion still. `total` must lie
    between the sums of the limits, and a layer of positive `most` have a positive weight.
    """
    floors = least or {}

    def scaled(scale: float) -> Shares:
        return {n: max(floors.get(n, 0.0), min(scale * weights[n], most[n])) for n in most}

    if total >= fsum(most.values()):
        return dict(most)
    if total <= fsum(floors.values()):
        return scaled(0.0)
    high = max(most[name] / weight for name, weight in weights.items() if weight)
    return scaled(root(lambda scale: fsum(scaled(scale).values()), total, high))


def pass_on(shares: Mapping[str, float], most: Mapping[str, float]) -> Shares:
    """`shares` with what exceeds `most` given to the layers that follow; after the last, to the first."""
    kept, surplus = dict.fromkeys(shares, 0.0), 0.0
    for asked in (shares, dict.fromkeys(shares, 0.0)):
        for name, share in asked.items():
            wanted = kept[name] + share + surplus
            kept[name] = min(wanted, most[name])
            surplus = wanted - kept[name]
    return kept


def root(rising: Callable[[float], float], total: float, high: float) -> float:
    """Where `rising` reaches `total`, between 0 and `high`: bisection down to neighbouring numbers."""
    low = 0.0
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if rising(middle) < total else (low, middle)
    return high
