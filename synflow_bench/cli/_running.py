"""Running a plan in sight of the user: progress, loggers, and signals."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from synflow_bench.cli._progress import Progress
from synflow_bench.execution import ExecutorFactory, Plan, Resources, Summary, run_plan
from synflow_bench.host import Host, RunFinished, RunStarted
from synflow_bench.records import Epoch, Record, Store
from synflow_bench.suites import Cell


@dataclass(frozen=True)
class Audience:
    """Who hears of a run: the user, and the plugins that log."""

    progress: Progress
    host: Host

    def epoch_finished(self, cell: Cell, epoch: Epoch) -> None:
        """Tell that a cell has trained one more epoch."""
        self.progress.epoch_finished(cell, epoch)
        self.host.epoch_finished(cell, epoch)

    def cell_finished(self, record: Record) -> None:
        """Tell that a cell has its record."""
        self.progress.cell_finished(record)
        self.host.cell_finished(record)


def run(plan: Plan, store: Store, host: Host, factory: ExecutorFactory, resources: Resources) -> Summary:
    """Run the missing cells of `plan` on an executor of `factory`."""
    audience = Audience(Progress(plan, sys.stderr), host)
    executor = factory(resources, audience.epoch_finished)
    known = len(plan.recorded) + len(plan.failed)
    host.run_started(RunStarted(store.root, len(plan.cells), known))
    with audience.progress, _terminate_as_interrupt():
        summary = run_plan(plan, store, executor, audience.cell_finished)
    ended = (summary.ok, summary.failed, summary.skipped)
    host.run_finished(RunFinished(store.root, len(plan.cells), known, *ended))
    return summary


@contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """Batch systems end a job with SIGTERM: what has finished is kept then too."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
