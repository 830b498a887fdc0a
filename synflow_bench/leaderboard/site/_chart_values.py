"""What charts of accuracy draw, as plain values: percent and factors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from synflow_bench.leaderboard._board import Board, Entry
from synflow_bench.leaderboard._statistics import Estimate
from synflow_bench.leaderboard._text import percent
from synflow_bench.leaderboard.site._looks import charted
from synflow_bench.records import Record

Values = list[dict[str, Any]]
_MARGIN = 4.0
"""Percent points between the outermost mean and the end of the axis."""


def accuracy_values(board: Board) -> Values:
    """One value a row and compression: mean and interval in percent, asked and effective compression."""
    return [
        {"row": row.label, "compression": entry.compression, **_entry(entry)}
        for row in charted(board)
        for entry in row.entries
        if entry.accuracy
    ]


def dense_values(board: Board) -> Values:
    """The unpruned network, a level line; none where it was not recorded."""
    dense = [entry for row in board.rows if row.is_dense for entry in row.entries if entry.accuracy]
    return [_spread(entry.accuracy) for entry in dense if entry.accuracy]


def _entry(entry: Entry) -> dict[str, Any]:
    return {"effective": entry.effective_compression, **_spread(entry.accuracy)} if entry.accuracy else {}


def _spread(accuracy: Estimate) -> dict[str, Any]:
    half = accuracy.half_width or 0.0
    low, high = max(0.0, accuracy.mean - half), min(1.0, accuracy.mean + half)
    spread = "" if accuracy.half_width is None else f" ±{percent(accuracy.half_width)}"
    shown = {"text": f"{percent(accuracy.mean)}{spread}", "n": accuracy.n}
    return {"mean": 100 * accuracy.mean, "low": 100 * low, "high": 100 * high, **shown}


def span(values: Iterable[dict[str, Any]]) -> tuple[float, float]:
    """The accuracies that an axis covers: all means; wide intervals are cut off."""
    means = [value["mean"] for value in values] or [0.0, 100.0]
    return max(0.0, math.floor(min(means) - _MARGIN)), min(100.0, math.ceil(max(means) + _MARGIN))


def ticks(values: Iterable[dict[str, Any]]) -> list[float]:
    """1, 2, 5, 10 and so on over what was asked for; powers of ten alone over many decades and beyond."""
    given = list(values)
    asked = _decades(value["compression"] for value in given)
    steps = (1, 2, 5) if asked < 4 else (1,)
    fine = [step * 10.0**decade for decade in range(asked + 1) for step in steps]
    return [
        *fine,
        *(10.0**decade for decade in range(asked + 1, 1 + _decades(value["effective"] for value in given))),
    ]


def _decades(factors: Iterable[float | None]) -> int:
    return math.ceil(math.log10(max(filter(None, factors), default=10.0)) - 1e-9)


def curve_values(record: Record) -> tuple[Values, Values]:
    """The training curve: accuracies in percent, and losses; `series` tells them apart."""
    accuracies = {
        "test top-1": [(point.epoch, _percent(point.test_top1)) for point in record.curve],
        "validation top-1": [(point.epoch, _percent(point.val_top1)) for point in record.curve],
    }
    losses = {
        "test loss": [(point.epoch, point.test_loss) for point in record.curve],
        "training loss": [(point.epoch, point.train_loss) for point in record.curve],
    }
    return list(_series(accuracies)), list(_series(losses))


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _series(series: dict[str, list[tuple[int, float | None]]]) -> Iterator[dict[str, Any]]:
    for name, points in series.items():
        yield from ({"series": name, "epoch": epoch, "value": value} for epoch, value in points)


def has_effective(board: Board) -> bool:
    """Whether some row can be drawn against effective compression."""
    return any(entry.effective_compression is not None for row in charted(board) for entry in row.entries)
