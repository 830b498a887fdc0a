"""Runs on Weights & Biases, one per cell."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from synflow_bench import hookimpl
from synflow_bench.records import Epoch, Record, key_of
from synflow_bench.suites import Cell
from synflow_bench_loggers.common import cell_values, epoch_values, metric_values, require

PROJECT = "synflow-bench"


class WandbLogger:
    """Weights & Biases runs, one per cell, grouped by setting.

    The cell is the configuration of its run. Files are written to `WANDB_DIR`, or else to `<results>/logs`;
    `WANDB_MODE=offline` keeps runs on this machine. If no run can be opened, for instance without a login,
    one warning says so and nothing more is logged.

    Args:
        target: Name of the project; if empty, `synflow-bench`.
        results: Folder of the results.

    Raises:
        UsageError: wandb is not installed.
    """

    def __init__(self, target: str, results: Path) -> None:
        self._wandb = require("wandb", "wandb")
        self._project = target or PROJECT
        self._folder = Path(os.environ.get("WANDB_DIR") or results / "logs")
        self._open: dict[str, Any] = {}
        self._given_up = False

    @hookimpl
    def synflow_bench_epoch_finished(self, cell: Cell, epoch: Epoch) -> None:
        """Add a point to every curve."""
        if run := self._run(cell):
            values = epoch_values(epoch)
            run.log({f"epoch/{name}": value for name, value in values.items() if value is not None})

    @hookimpl
    def synflow_bench_cell_finished(self, record: Record) -> None:
        """Set the final metrics as the run's summary, and finish it; a failed cell is a failed run."""
        if run := self._run(record.cell):
            run.summary.update({"status": record.status, **metric_values(record)})
            if record.error:
                run.summary["error"] = record.error.message
            del self._open[record.key]
            run.finish(exit_code=0 if record.status == "ok" else 1)

    @hookimpl
    def synflow_bench_run_finished(self) -> None:
        """Finish the runs of interrupted cells as failed."""
        while self._open:
            self._open.popitem()[1].finish(exit_code=1)

    def _run(self, cell: Cell) -> Any:
        key = key_of(cell)
        if key not in self._open and not self._given_up:
            try:
                self._open[key] = self._start(cell)
            except Exception:
                self._given_up = True
                raise
        return self._open.get(key)

    def _start(self, cell: Cell) -> Any:
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._wandb.init(
            project=self._project,
            dir=str(self._folder),
            name=f"{cell.row} / {cell.compression:g} / {cell.seed}",
            group=f"{cell.setting.title} ({cell.setting.id})",
            config={**cell_values(cell), "cell": cell.model_dump(mode="json")},
            reinit="create_new",
            settings=self._wandb.Settings(silent=True, console="off"),
        )
