"""How density falls from round to round."""

from __future__ import annotations

from typing import Literal

Schedule = Literal["exponential", "linear"]


def densities(schedule: Schedule, density: float, rounds: int) -> list[float]:
    """The density after each of `rounds` rounds; the last is `density` exactly.

    exponential: density ** (t / T); linear: 1 - (1 - density) t / T.
    """
    steps = [t / rounds for t in range(1, rounds)]
    if schedule == "exponential":
        return [*(density**step for step in steps), density]
    return [*(1 - (1 - density) * step for step in steps), density]
