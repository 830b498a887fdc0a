"""Event files for TensorBoard, one run per cell."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from synflow_bench import hookimpl
from synflow_bench.records import Epoch, Record, key_of
from synflow_bench.suites import Cell
from synflow_bench_loggers.common import cell_values, epoch_values, make_folder, metric_values, require

_UNSAFE_IN_FILE_NAMES = re.compile(r"[^\w.=,\[\]()+-]+")


class TensorBoardLogger:
    """TensorBoard event files, one run per cell.

    A run is in `<folder>/<dataset>/<model>/<row>/<compression>/<seed>-<key>` and has a point per epoch. A
    finished cell adds its metrics as `final/...`, with the cell as hyperparameters.

    Args:
        target: Folder of the runs; if empty, `<results>/logs/tensorboard`.
        results: Folder of the results.

    Raises:
        UsageError: TensorBoard is not installed, or the folder cannot be created.
    """

    def __init__(self, target: str, results: Path) -> None:
        require("tensorboard", "tensorboard")
        self._summary_writer = require("tensorboard", "torch.utils.tensorboard").SummaryWriter
        self._folder = make_folder("tensorboard", target, results)
        self._open: dict[str, Any] = {}

    @hookimpl
    def synflow_bench_epoch_finished(self, cell: Cell, epoch: Epoch) -> None:
        """Add a point to every curve."""
        writer = self._writer(cell)
        for name, value in epoch_values(epoch).items():
            if name != "epoch" and value is not None:
                writer.add_scalar(f"epoch/{name}", value, epoch.epoch)

    @hookimpl
    def synflow_bench_cell_finished(self, record: Record) -> None:
        """Add the final metrics, or the reason of a failure, and close the run."""
        writer = self._writer(record.cell)
        final = {f"final/{name}": value for name, value in metric_values(record).items()}
        if final:
            cell = {name: value for name, value in cell_values(record.cell).items() if name != "key"}
            writer.add_hparams(cell, final, run_name=".")
        if record.error:
            writer.add_text(record.status, record.error.message)
        self._open.pop(record.key).close()

    @hookimpl
    def synflow_bench_run_finished(self) -> None:
        """Close the runs of interrupted cells."""
        while self._open:
            self._open.popitem()[1].close()

    def _writer(self, cell: Cell) -> Any:
        key = key_of(cell)
        if key not in self._open:
            row = _UNSAFE_IN_FILE_NAMES.sub("_", cell.row)
            place = f"{cell.setting.dataset_label}/{cell.setting.model.name}/{row}/{cell.compression:g}"
            self._open[key] = self._summary_writer(str(self._folder / place / f"{cell.seed}-{key[:8]}"))
        return self._open[key]
