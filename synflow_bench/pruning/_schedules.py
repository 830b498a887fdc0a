"""How density falls from round to round."""

from __future__ import annotations

from typing import Literal

Schedule = Literal["exponential", "linear"]


def densities(schedule: Schedule, density: float, rounds: int, start: float = 1.0) -> list[float]:
    """The density after each of `rounds` rounds that begin at `start`; the last is `density` exactly.

    exponential: start (density / start) ** (t / T); linear: start - (start - density) t / T.
    """
    steps = [t / rounds for t in range(1, rounds)]
    if schedule == "exponential":
        return [*(start * (density / start) ** step for step in steps), density]
    return [*(start - (start - density) * step for step in steps), density]
