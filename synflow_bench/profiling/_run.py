"""Running cells under a stopwatch, in the process that is there."""

from __future__ import annotations

import tempfile
from pathlib import Path

from synflow_bench.execution import _bench
from synflow_bench.profiling._stages import watched
from synflow_bench.profiling._stopwatch import Stopwatch
from synflow_bench.profiling._task import Task
from synflow_bench.protocols import may_share, run_cells
from synflow_bench.records import Record, Store


def run_timed(task: Task, stopwatch: Stopwatch) -> list[Record]:
    """The records of the cells of `task`; they are written, and forgotten."""
    with watched(stopwatch), tempfile.TemporaryDirectory() as folder:
        bench = _bench.make_bench(task.data_root, task.device, task.threads, task.plugins)
        cells = list(task.cells)
        together = len(cells) > 1 and may_share(cells[0], bench)
        groups = [cells] if together else [[cell] for cell in cells]
        records = [record for group in groups for record in run_cells(group, bench, lambda *_: None)]
        store = Store(Path(folder))
        for record in records:
            store.put(record)
        bench.close()
        return records
