"""From the costs of two small amounts to that of a large one."""

from __future__ import annotations

from collections.abc import Callable

STRETCH = 4


def line(cost: Callable[[int], float], small: int, whole: int) -> float:
    """The cost of `whole` on the line through those of `small` and four times as much.

    A part of a cost does not grow with the amount: an optimizer's step does not depend on the batch. Where
    noise turns the line downwards, the cost is taken to grow in proportion.
    """
    first = cost(small)
    larger = min(STRETCH * small, whole)
    if larger == small:
        return first
    second = cost(larger)
    slope = (second - first) / (larger - small)
    return second + (whole - larger) * slope if slope > 0 else second * whole / larger
