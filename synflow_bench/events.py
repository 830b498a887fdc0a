"""The events of a run, for the parts that watch it: progress, plugins, and a file of JSON lines."""

from __future__ import annotations

import errno
import json
import os
from datetime import UTC, datetime
from io import FileIO, RawIOBase
from pathlib import Path
from typing import Any

from synflow_bench.errors import RecordError
from synflow_bench.host import Host, RunFinished, RunStarted
from synflow_bench.records import Epoch, Record, key_of
from synflow_bench.suites import Cell


class Watcher:
    """Receives the events of a run, all in one thread; a subclass overrides those that it needs."""

    def run_started(self, run: RunStarted, workers: int) -> None:
        """Handle the start of a run on a number of workers."""

    def neighbor_found(self, title: str) -> None:
        """Handle other runs, usually one, that share the results folder."""

    def cell_started(self, cell: Cell) -> None:
        """Handle a cell that a worker receives."""

    def cell_returned(self, cell: Cell) -> None:
        """Handle a cell that was started, but waits again for a worker."""

    def epoch_finished(self, cell: Cell, epoch: Epoch) -> None:
        """Handle a point of the curve of a running cell."""

    def cell_finished(self, record: Record) -> None:
        """Handle a record of this run."""

    def cell_found(self, record: Record) -> None:
        """Handle a record of another run, which makes a cell of this one needless."""

    def run_finished(self, run: RunFinished) -> None:
        """Handle the end of the run."""


class HostWatcher(Watcher):
    """Calls the hooks of plugins.

    Args:
        host: The plugins.
    """

    def __init__(self, host: Host) -> None:
        self._host = host

    def run_started(self, run: RunStarted, workers: int) -> None:  # noqa: ARG002
        """Call `synflow_bench_run_started`."""
        self._host.run_started(run)

    def epoch_finished(self, cell: Cell, epoch: Epoch) -> None:
        """Call `synflow_bench_epoch_finished`."""
        self._host.epoch_finished(cell, epoch)

    def cell_finished(self, record: Record) -> None:
        """Call `synflow_bench_cell_finished`."""
        self._host.cell_finished(record)

    def run_finished(self, run: RunFinished) -> None:
        """Call `synflow_bench_run_finished`."""
        self._host.run_finished(run)


class EventLog(Watcher):
    """Appends every event to a file, as one JSON object per line with `time` (UTC) and `event`.

    Args:
        path: The file; an existing one is continued.

    Raises:
        RecordError: The file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            # Without this flag, a pipe that nobody reads is waited for.
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o666)
            os.set_blocking(descriptor, True)
            self._file: RawIOBase | None = FileIO(descriptor, "ab")
        except OSError as error:
            reason = "nobody reads this pipe" if error.errno == errno.ENXIO else error.strerror or error
            raise RecordError(f"cannot write log {str(path)!r}: {reason}") from error

    def run_started(self, run: RunStarted, workers: int) -> None:
        """Write the numbers of cells and workers."""
        self._write(
            "run started", results=str(run.results), cells=run.cells, recorded=run.recorded, workers=workers
        )

    def neighbor_found(self, title: str) -> None:
        """Write the title of the other run."""
        self._write("other run", run=title)

    def cell_started(self, cell: Cell) -> None:
        """Write the key and the title of the cell."""
        self._write("cell started", key=key_of(cell), cell=cell.title)

    def cell_returned(self, cell: Cell) -> None:
        """Write the key and the title of the cell."""
        self._write("cell returned", key=key_of(cell), cell=cell.title)

    def epoch_finished(self, cell: Cell, epoch: Epoch) -> None:
        """Write the point of the curve."""
        self._write("epoch", key=key_of(cell), **epoch.model_dump(mode="json"))

    def cell_finished(self, record: Record) -> None:
        """Write the status, the accuracy, the seconds and the error."""
        self._write_record("cell finished", record)

    def cell_found(self, record: Record) -> None:
        """Write the status, the accuracy, the seconds and the error."""
        self._write_record("cell found", record)

    def run_finished(self, run: RunFinished) -> None:
        """Write the counts, and close the file."""
        self._write("run finished", cells=run.cells, ok=run.ok, failed=run.failed, skipped=run.skipped)
        self._close()

    def _close(self) -> None:
        if self._file:
            self._file.close()
        self._file = None

    def _write_record(self, event: str, record: Record) -> None:
        self._write(
            event,
            key=record.key,
            cell=record.cell.title,
            status=record.status,
            test_top1=record.metrics.test_top1 if record.metrics else None,
            seconds=record.timing.total_seconds if record.timing else None,
            error=str(record.error) if record.error else None,
        )

    def _write(self, event: str, **fields: Any) -> None:
        if self._file is None:
            return
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **fields}
        try:
            self._file.write(f"{json.dumps(line)}\n".encode("ascii"))
        except OSError:  # a full disk must not cost the cells; their records are a better sign of it
            self._close()
