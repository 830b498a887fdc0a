"""Output folders, optional dependencies, and cells, epochs and records as flat values."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from synflow_bench.errors import UsageError
from synflow_bench.records import Epoch, Record, key_of
from synflow_bench.suites import Cell

Value = str | int | float | bool | None


def require(logger: str, module: str) -> Any:
    """Import a module that a logger needs.

    Raises:
        UsageError: Its package is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"logger {logger!r} needs {error.name}, which is not installed; "
            f"pip install 'synflow-bench[{logger}]', or leave out --log {logger}"
        ) from error


def make_folder(logger: str, target: str, results: Path) -> Path:
    """Create the folder `target`, or `<results>/logs/<logger>` if `target` is empty.

    Raises:
        UsageError: It cannot be created.
    """
    folder = Path(target) if target else results / "logs" / logger
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"logger {logger!r} cannot write to {str(folder)!r}: {reason}") from error
    return folder


def cell_values(cell: Cell) -> dict[str, Value]:
    """Describe a cell; `row` is the pruner with its parameters and ablation, as on a board.

    `target_compression` is the requested compression; the metric `compression` is that of the masks.
    """
    return {
        "key": key_of(cell),
        "dataset": cell.setting.dataset_label,
        "model": cell.setting.model.name,
        "setting": cell.setting.id,
        "pruner": cell.pruner.name,
        "row": cell.row,
        "target_compression": cell.compression,
        "seed": cell.seed,
    }


def epoch_values(epoch: Epoch) -> dict[str, Value]:
    """Return the point of the training curve; epoch 0 is before training."""
    values: dict[str, Value] = epoch.model_dump()
    return values


def metric_values(record: Record) -> dict[str, float]:
    """Return the final numbers of a cell, with lists as their lengths; empty for a failed cell."""
    values = record.metrics.model_dump() if record.metrics else {}
    numbers = {name: len(value) if isinstance(value, tuple) else value for name, value in values.items()}
    return {name: float(value) for name, value in numbers.items() if isinstance(value, int | float)}
