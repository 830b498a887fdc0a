"""Event files for TensorBoard, one run a cell."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from synflow_bench import hookimpl
from synflow_bench.records import Epoch, Record, key_of
from synflow_bench.suites import Cell
from synflow_bench_loggers._extras import need
from synflow_bench_loggers._facts import of_cell, of_epoch, of_metrics
from synflow_bench_loggers._folders import folder_of

_AWKWARD = re.compile(r"[^\w.=,\[\]()+-]+")


class TensorBoardLogger:
    """Writes `<folder>/<dataset>/<model>/<row>/<compression>/<seed>-<key>`, epoch by epoch.

    At the end of a cell its metrics follow as `final/...`, with the cell as hyperparameters. Raises
    `UsageError` where tensorboard is not installed, and for a folder that cannot be had.
    """

    def __init__(self, target: str, results: Path) -> None:
        need("tensorboard", "tensorboard")
        self._writer_of = need("tensorboard", "torch.utils.tensorboard").SummaryWriter
        self._folder = folder_of("tensorboard", target, results)
        self._open: dict[str, Any] = {}

    @hookimpl
    def synflow_bench_epoch_finished(self, cell: Cell, epoch: Epoch) -> None:
        """A point on every curve."""
        writer = self._writer(cell)
        for name, value in of_epoch(epoch).items():
            if name != "epoch" and value is not None:
                writer.add_scalar(f"epoch/{name}", value, epoch.epoch)

    @hookimpl
    def synflow_bench_cell_finished(self, record: Record) -> None:
        """The final metrics, or why the cell failed."""
        writer = self._writer(record.cell)
        final = {f"final/{name}": value for name, value in of_metrics(record).items()}
        if final:
            cell = {name: value for name, value in of_cell(record.cell).items() if name != "key"}
            writer.add_hparams(cell, final, run_name=".")
        if record.error:
            writer.add_text(record.status, record.error.message)
        self._open.pop(record.key).close()

    @hookimpl
    def synflow_bench_run_finished(self) -> None:
        """Cells that were interrupted are closed as they are."""
        while self._open:
            self._open.popitem()[1].close()

    def _writer(self, cell: Cell) -> Any:
        key = key_of(cell)
        if key not in self._open:
            self._open[key] = self._writer_of(str(self._folder / run_name(cell)))
        return self._open[key]


def run_name(cell: Cell) -> str:
    """The run's folder below the logger's: readable, and one for each cell."""
    row = _AWKWARD.sub("_", cell.row)
    place = f"{cell.setting.dataset}/{cell.setting.model.name}/{row}/{cell.compression:g}"
    return f"{place}/{cell.seed}-{key_of(cell)[:8]}"
