"""Numbers as text, written the same way in every format."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from synflow_bench.leaderboard.statistics import Estimate, Standing

BLANK = "–"
"""The text for a missing number."""
BEST, EQUIVALENT, UNDECIDED = "*", "≈", "?"
"""Marks of standings in plain text; formats with bold type use that for the best."""
CHANCE = "†"
"""The mark of seeds at chance."""


@dataclass(frozen=True)
class TableCell:
    """The text of one cell of a table.

    Attributes:
        mean: The number, or words.
        spread: Its interval, as `±0.4` or `(96.5–97.9)`.
        standing: The standing of a compared number; formats mark it.
        note: The number of seeds, as `n=2`, where some are missing.
        brief: The interval for narrow tables, as `±0.4` or ` 96–98`; ranges are rounded outward.
        chance: The seeds at chance, as `2/3`; empty where there are none.
    """

    mean: str = ""
    spread: str = ""
    standing: Standing | None = None
    note: str = ""
    brief: str = ""
    chance: str = ""

    @property
    def text(self) -> str:
        """Everything but the standing, in one line."""
        chance = f"{CHANCE}{self.chance}" if self.chance else ""
        return " ".join(filter(None, (self.mean, self.spread, chance, self.note)))


def difference(value: Estimate | None) -> TableCell:
    """A difference of shares in percentage points, with its sign: `-1.2 ±0.4`."""
    if value is None:
        return TableCell(BLANK)
    text = f"{100 * value.mean:+.1f}"
    return TableCell(
        "0.0" if text in {"+0.0", "-0.0"} else text, spread(value, " to "), brief=brief(value, "..")
    )


def estimate(
    value: Estimate | None, seeds: int, standing: Standing | None = None, at_chance: int = 0
) -> TableCell:
    """A mean share in percent with its interval, and with `n=..` where it is not over all `seeds`."""
    if value is None:
        return TableCell(BLANK)
    return TableCell(
        percent(value.mean),
        spread(value),
        standing,
        note="" if value.n == seeds else f"n={value.n}",
        brief=brief(value),
        chance=f"{at_chance}/{value.n}" if at_chance else "",
    )


def interval(value: Estimate | None) -> str:
    """A mean share in percent with its interval: `93.9 ±5.4`, or `93.9 (91.2–95.6)`."""
    return BLANK if value is None else TableCell(percent(value.mean), spread(value)).text


def spread(value: Estimate, dash: str = "–") -> str:
    """The interval of an estimate, in percentage points; empty where there is none.

    It is `±0.4` where it is symmetric, and `(96.5–97.9)` where it is a range or cut at the possible values.
    """
    if value.low is None or value.high is None or value.half_width is None:
        return ""
    if value.is_symmetric:
        return f"±{percent(value.half_width)}"
    return f"({percent(value.low)}{dash}{percent(value.high)})"


def brief(value: Estimate, dash: str = "–") -> str:
    """The same for a narrow table: a range is rounded outward to whole numbers, ` 96–98`."""
    if value.low is None or value.high is None or value.is_symmetric:
        return spread(value)
    low, high = math.floor(100 * value.low + 1e-9), math.ceil(100 * value.high - 1e-9)
    return f" {low}{dash}{high}"


def percent(share: float) -> str:
    """A share in percent, with one decimal."""
    return f"{100 * share:.1f}"


def percentage(share: float | None, digits: int = 2) -> str:
    """A share in percent, with its unit: `93.06 %`."""
    return BLANK if share is None else f"{100 * share:.{digits}f} %"


def compression(value: float | None) -> str:
    """A requested compression ratio: `10`, `1000000`, `31.6228`."""
    if value is None:
        return BLANK
    return f"{value:.0f}" if value.is_integer() else f"{value:g}"


def compressions(values: Iterable[float]) -> str:
    """Several requested compression ratios: `2, 5, 10`."""
    return ", ".join(map(compression, values)) or "nothing"


def factor(value: float | None) -> str:
    """A measured ratio, with two decimals, or none from 1000 on."""
    if value is None:
        return BLANK
    return f"{value:.2f}" if value < 1000 else f"{value:.0f}"


def seconds(value: float | None) -> str:
    """A duration in seconds, with two decimals."""
    return BLANK if value is None else f"{value:.2f}"


def significant(value: float | None) -> str:
    """A loss or a rate, with four significant digits."""
    return BLANK if value is None else f"{value:.4g}"
