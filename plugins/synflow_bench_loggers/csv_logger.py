"""Two CSV files that grow as a run goes on."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from synflow_bench import hookimpl
from synflow_bench.errors import UsageError
from synflow_bench.records import Epoch, Metrics, Record
from synflow_bench.suites import Cell
from synflow_bench_loggers._facts import Fact, of_cell, of_epoch, of_metrics
from synflow_bench_loggers._folders import folder_of

_CELL = ("key", "dataset", "model", "setting", "pruner", "row", "target_compression", "seed")
EPOCHS = (*_CELL, *Epoch.model_fields)
CELLS = (*_CELL, "status", *Metrics.model_fields, "prune_seconds", "train_seconds", "total_seconds", "error")


class CsvLogger:
    """Writes `epochs.csv` and `cells.csv` to a folder, each line as it comes; later runs add to them.

    Raises `UsageError` for a folder that cannot be had, and for files with other columns.
    """

    def __init__(self, target: str, results: Path) -> None:
        folder = folder_of("csv", target, results)
        self._epochs = Table(folder / "epochs.csv", EPOCHS)
        self._cells = Table(folder / "cells.csv", CELLS)

    @hookimpl
    def synflow_bench_epoch_finished(self, cell: Cell, epoch: Epoch) -> None:
        """One line in `epochs.csv`."""
        self._epochs.add({**of_cell(cell), **of_epoch(epoch)})

    @hookimpl
    def synflow_bench_cell_finished(self, record: Record) -> None:
        """One line in `cells.csv`."""
        timing = record.timing.model_dump() if record.timing else {}
        error = record.error.message if record.error else None
        end = {"status": record.status, "error": error}
        self._cells.add({**of_cell(record.cell), **of_metrics(record), **timing, **end})


class Table:
    """A CSV file with fixed columns, opened for each line: what is written stays, however the run ends."""

    def __init__(self, path: Path, columns: Iterable[str]) -> None:
        self.path, self.columns = path, list(columns)
        found = self._header()
        if not found:
            self._write(self.columns)
        elif found != self.columns:
            raise UsageError(f"{str(path)!r} has other columns ({', '.join(found)}); log to another folder")

    def add(self, facts: dict[str, Fact]) -> None:
        """Append a line; what is not there is left empty."""
        self._write([facts.get(name) for name in self.columns])

    def _header(self) -> list[str]:
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8", errors="replace") as file:
            return next(csv.reader(file), [])

    def _write(self, line: Sequence[Fact]) -> None:
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerow(line)
