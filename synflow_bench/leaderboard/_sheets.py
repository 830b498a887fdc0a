"""Tables beside the boards as text: ranks over settings, and what others published."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from synflow_bench.leaderboard._board import Overall
from synflow_bench.leaderboard._published import PublishedTable
from synflow_bench.leaderboard._statistics import Estimate
from synflow_bench.leaderboard._text import BLANK, compression, count, percent

_ENOUGH_SETTINGS = 10
"""Settings from which a bootstrap over them says about what it promises."""


@dataclass(frozen=True)
class Sheet:
    """A table with a title and notes; the first column names the rows."""

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def overall_sheet(overall: Overall) -> Sheet:
    """The ranks over settings, the best first; which settings, and how far to trust the intervals."""
    return Sheet(
        title=f"Overall rank over {count(len(overall.settings), 'setting')}",
        headers=("pruner", "mean rank", "95 % interval"),
        rows=tuple(
            (row.label, f"{row.mean:.2f}", f"{row.low:.2f} to {row.high:.2f}") for row in overall.rows
        ),
        notes=tuple(_notes(overall)),
    )


def _notes(overall: Overall) -> Iterator[str]:
    yield f"settings: {'; '.join(overall.settings)}"
    if len(overall.settings) < _ENOUGH_SETTINGS:
        yield (
            f"the bootstrap interval over {count(len(overall.settings), 'setting')} is too narrow: of 2 or 3 "
            "unlike settings it holds the true mean rank about 75 to 80 times in 100, not 95"
        )
    if overall.left_out:
        yield f"not ranked in every setting: {', '.join(overall.left_out)}"


def published_sheet(table: PublishedTable) -> Sheet:
    """Published accuracies in percent, a column a pruner."""
    return Sheet(
        title=f"{table.title} (not ranked with ours)",
        headers=("compression", *(row.label for row in table.rows)),
        rows=tuple(
            (compression(value), *(_accuracy(row.accuracy.get(value)) for row in table.rows))
            for value in table.compressions
        ),
        notes=(*table.notes, f"{table.citation}; mean of runs ± half-width of the 95 % t-interval"),
    )


def _accuracy(estimate: Estimate | None) -> str:
    if estimate is None:
        return BLANK
    spread = "" if estimate.half_width is None else f" ±{percent(estimate.half_width)}"
    return f"{percent(estimate.mean)}{spread}"
