"""Runs on Weights & Biases, one a cell; offline where `WANDB_MODE=offline` says so."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from synflow_bench import hookimpl
from synflow_bench.records import Epoch, Record, key_of
from synflow_bench.suites import Cell
from synflow_bench_loggers._extras import need
from synflow_bench_loggers._facts import of_cell, of_epoch, of_metrics

PROJECT = "synflow-bench"


class WandbLogger:
    """Logs to a project: cells are runs, grouped by setting, with the cell as their configuration.

    Files go to `WANDB_DIR`, else below the results. When no run can be opened, as without a login, it says so
    once and is silent then. Raises `UsageError` where wandb is not installed.
    """

    def __init__(self, target: str, results: Path) -> None:
        self._wandb = need("wandb", "wandb")
        self._project = target or PROJECT
        self._folder = Path(os.environ.get("WANDB_DIR") or results / "logs")
        self._open: dict[str, Any] = {}
        self._given_up = False

    @hookimpl
    def synflow_bench_epoch_finished(self, cell: Cell, epoch: Epoch) -> None:
        """A point on every curve."""
        if run := self._run(cell):
            run.log({f"epoch/{name}": value for name, value in of_epoch(epoch).items() if value is not None})

    @hookimpl
    def synflow_bench_cell_finished(self, record: Record) -> None:
        """The final metrics as the run's summary; a cell that failed is a run that failed."""
        if run := self._run(record.cell):
            run.summary.update({"status": record.status, **of_metrics(record)})
            if record.error:
                run.summary["error"] = record.error.message
            del self._open[record.key]
            run.finish(exit_code=0 if record.status == "ok" else 1)

    @hookimpl
    def synflow_bench_run_finished(self) -> None:
        """Cells that were interrupted are runs that failed."""
        while self._open:
            self._open.popitem()[1].finish(exit_code=1)

    def _run(self, cell: Cell) -> Any:
        key = key_of(cell)
        if key not in self._open and not self._given_up:
            try:
                self._open[key] = self._begun(cell)
            except Exception:
                self._given_up = True
                raise
        return self._open.get(key)

    def _begun(self, cell: Cell) -> Any:
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._wandb.init(
            project=self._project,
            dir=str(self._folder),
            name=f"{cell.row} / {cell.compression:g} / {cell.seed}",
            group=f"{cell.setting.title} ({cell.setting.id})",
            config={**of_cell(cell), "cell": cell.model_dump(mode="json")},
            reinit="create_new",
            settings=self._wandb.Settings(silent=True, console="off"),
        )
