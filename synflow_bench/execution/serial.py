"""Cells one after the other, in this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import partial

from synflow_bench.errors import UsageError
from synflow_bench.execution._bench import make_bench
from synflow_bench.execution._executor import OnEpoch, Resources
from synflow_bench.protocols import run_cell
from synflow_bench.records import Record
from synflow_bench.suites import Cell
from synflow_bench.training import resolve_devices


class SerialExecutor:
    """The simplest executor, and the one to debug with."""

    workers = 1

    def __init__(self, resources: Resources, on_epoch: OnEpoch) -> None:
        if resources.workers > 1:
            raise UsageError(
                f"executor 'serial' runs one cell at a time; leave out --workers {resources.workers}"
            )
        device = resolve_devices(resources.device)[0]
        self._bench = make_bench(resources.data_root, str(device), resources.threads, resources.plugins)
        self._on_epoch = on_epoch
        self._queue: deque[Cell] = deque()

    def submit(self, cell: Cell) -> None:
        """Queue a cell."""
        self._queue.append(cell)

    def finished(self) -> Iterator[Record]:
        """Run the queued cells."""
        while self._queue:
            cell = self._queue.popleft()
            yield run_cell(cell, self._bench, partial(self._on_epoch, cell))

    def close(self) -> None:
        """Forget what is queued."""
        self._queue.clear()
