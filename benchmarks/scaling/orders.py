"""In which order cells are dispatched."""

from __future__ import annotations

import random
from collections.abc import Sequence

ORDERS = ("as in the suite", "at random", "longest first")


def ordered(seconds: Sequence[float], order: str, seed: int) -> list[float]:
    """The lengths of cells in one of the `ORDERS`."""
    if order == "longest first":
        return sorted(seconds, reverse=True)
    if order == "at random":
        return random.Random(seed).sample(list(seconds), len(seconds))  # noqa: S311
    return list(seconds)
