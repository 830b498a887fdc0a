"""How numbers and names are written, in every format alike."""

from __future__ import annotations

from synflow_bench.leaderboard._statistics import Estimate

BLANK = "–"


def percent(share: float) -> str:
    """A share in percent points with one decimal."""
    return f"{100 * share:.1f}"


def points(difference: float) -> str:
    """A difference of shares in percent points, with its sign."""
    text = f"{100 * difference:+.1f}"
    return "0.0" if text in {"+0.0", "-0.0"} else text


def points_estimate(difference: Estimate | None) -> str:
    """A difference with the half-width of its interval: `-1.2 ±0.4`."""
    if difference is None:
        return BLANK
    spread = "" if difference.half_width is None else f" ±{percent(difference.half_width)}"
    return f"{points(difference.mean)}{spread}"


def compression(value: float | None) -> str:
    """A compression that was asked for: `10`, `1000000`, `31.6228`."""
    if value is None:
        return BLANK
    return f"{value:.0f}" if value.is_integer() else f"{value:g}"


def factor(value: float | None) -> str:
    """A measured ratio: two decimals, none from 1000 on."""
    if value is None:
        return BLANK
    return f"{value:.2f}" if value < 1000 else f"{value:.0f}"


def seconds(value: float | None) -> str:
    """Seconds with two decimals."""
    return BLANK if value is None else f"{value:.2f}"


def numbers(values: tuple[int, ...]) -> str:
    """Whole numbers in a list: `0, 1, 2`."""
    return ", ".join(map(str, values))


def count(number: int, noun: str) -> str:
    """A number of things: `1 seed`, `3 seeds`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
