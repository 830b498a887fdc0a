"""What loggers write of cells, epochs and records: flat, in words of the leaderboard."""

from __future__ import annotations

from synflow_bench.records import Epoch, Record, key_of
from synflow_bench.suites import Cell

Fact = str | int | float | bool | None


def of_cell(cell: Cell) -> dict[str, Fact]:
    """Which cell it is; `row` is the pruner with its parameters and ablation, as a board names it.

    `target_compression` was asked for; the metric `compression` is what the masks have.
    """
    return {
        "key": key_of(cell),
        "dataset": cell.setting.dataset,
        "model": cell.setting.model.name,
        "setting": cell.setting.id,
        "pruner": cell.pruner.name,
        "row": cell.row,
        "target_compression": cell.compression,
        "seed": cell.seed,
    }


def of_epoch(epoch: Epoch) -> dict[str, Fact]:
    """The point of the training curve; epoch 0 is before training."""
    facts: dict[str, Fact] = epoch.model_dump()
    return facts


def of_metrics(record: Record) -> dict[str, float]:
    """The final numbers of a cell, lists as their lengths; none where it has failed."""
    values = record.metrics.model_dump() if record.metrics else {}
    numbers = {name: len(value) if isinstance(value, tuple) else value for name, value in values.items()}
    return {name: float(value) for name, value in numbers.items() if isinstance(value, int | float)}
