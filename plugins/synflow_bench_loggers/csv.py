"""Two CSV files that grow during a run."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from synflow_bench import hookimpl
from synflow_bench.errors import UsageError, without_formula
from synflow_bench.records import Epoch, Metrics, Record
from synflow_bench.suites import Cell
from synflow_bench_loggers.common import Value, cell_values, epoch_values, make_folder, metric_values

_CELL = ("key", "dataset", "model", "setting", "pruner", "row", "target_compression", "seed")
EPOCHS = (*_CELL, *Epoch.model_fields)
CELLS = (*_CELL, "status", *Metrics.model_fields, "prune_seconds", "train_seconds", "total_seconds", "error")


class CsvLogger:
    """Two CSV files, of epochs and of finished cells.

    `epochs.csv` and `cells.csv` get each line at once, and later runs append to them.

    Args:
        target: Folder of the files; if empty, `<results>/logs/csv`.
        results: Folder of the results.

    Raises:
        UsageError: The folder cannot be created, or a file has other columns.
    """

    def __init__(self, target: str, results: Path) -> None:
        folder = make_folder("csv", target, results)
        self._epochs = CsvTable(folder / "epochs.csv", EPOCHS)
        self._cells = CsvTable(folder / "cells.csv", CELLS)

    @hookimpl
    def synflow_bench_epoch_finished(self, cell: Cell, epoch: Epoch) -> None:
        """Append a line to `epochs.csv`."""
        self._epochs.append({**cell_values(cell), **epoch_values(epoch)})

    @hookimpl
    def synflow_bench_cell_finished(self, record: Record) -> None:
        """Append a line to `cells.csv`."""
        timing = record.timing.model_dump() if record.timing else {}
        error = record.error.message if record.error else None
        end = {"status": record.status, "error": error}
        self._cells.append({**cell_values(record.cell), **metric_values(record), **timing, **end})


class CsvTable:
    """A CSV file with fixed columns, opened for each line, so that lines survive a killed run."""

    def __init__(self, path: Path, columns: Iterable[str]) -> None:
        self.path, self.columns = path, list(columns)
        found = self._header()
        if not found:
            self._write(self.columns)
        elif found != self.columns:
            raise UsageError(f"{str(path)!r} has other columns ({', '.join(found)}); log to another folder")

    def append(self, values: dict[str, Value]) -> None:
        """Append a line; missing values are left empty."""
        found = [values.get(name) for name in self.columns]
        self._write([without_formula(value) if isinstance(value, str) else value for value in found])

    def _header(self) -> list[str]:
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8", errors="replace") as file:
            return next(csv.reader(file), [])

    def _write(self, line: Sequence[Value]) -> None:
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerow(line)
