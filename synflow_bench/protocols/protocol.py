"""The protocols by name, and the run of cells: every cell gets a record, even if an error ends it.

A protocol is a generator function: it yields one training after another and receives their results, so that
the trainings of several cells can be computed in one batch. What a suite says about a protocol is in
`synflow_bench.suites`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import torch

from synflow_bench.protocols.context import (
    Outcome,
    ProtocolSteps,
    WorkerContext,
    examples_of,
    network_of,
    training_of,
)
from synflow_bench.protocols.multishot import multishot
from synflow_bench.protocols.record import failed_record, plugins_of, provenance_of, record_of
from synflow_bench.protocols.singleshot import singleshot
from synflow_bench.records import Epoch, Record
from synflow_bench.suites import Cell
from synflow_bench.training import OnEpoch, Trained, Training, can_batch, train_batch

PROTOCOLS: dict[str, Callable[[Cell, WorkerContext, OnEpoch], ProtocolSteps]] = {
    "singleshot": singleshot,
    "multishot": multishot,
}
"""The function that runs a cell, by the name of the protocol of its setting."""

OnCellEpoch = Callable[[Cell, Epoch], None]


def run_cell(cell: Cell, context: WorkerContext, on_epoch: OnEpoch = lambda _: None) -> Record:
    """Run `cell`; an error becomes a failed record, a missing dataset a skipped one."""
    return run_cells([cell], context, lambda _, epoch: on_epoch(epoch))[0]


def run_cells(cells: Sequence[Cell], context: WorkerContext, on_epoch: OnCellEpoch) -> list[Record]:
    """Run `cells` in one batch; each gets the same record as when it runs alone.

    Where training the batch fails, its cells are run one by one.

    Args:
        cells: One cell, or several of one setting for which `may_batch` holds.
        context: The context of this process.
        on_epoch: Called with the cell and every point of its curve.
    """
    with torch.random.fork_rng(devices=[context.device] if context.device.type == "cuda" else []):
        runs = [_Run(cell, context, partial(on_epoch, cell)) for cell in cells]
        waiting = [run for run in runs if run.advance(None)]
        while waiting:
            try:
                trained = train_batch([run.training for run in waiting])
            except (Exception, SystemExit) as error:
                _run_alone(waiting, error, on_epoch)
                break
            waiting = [run for run, result in zip(waiting, trained, strict=True) if run.advance(result)]
    return [run.record for run in runs]


def may_batch(cell: Cell, context: WorkerContext) -> bool:
    """Return True if cells with the setting of `cell` may run in one batch; tried once per setting."""
    setting = cell.setting.digest
    if setting not in context.batchable:
        try:
            examples, network = examples_of(cell, context), network_of(cell, context, "init")
            context.batchable[setting] = can_batch(training_of(cell, network, {}, examples))
        except Exception:  # the cell's own run will report it
            context.batchable[setting] = False
    return context.batchable[setting]


def _run_alone(runs: Sequence[_Run], error: BaseException, on_epoch: OnCellEpoch) -> None:
    if len(runs) == 1:
        runs[0].fail(error)
        return
    for run in runs:
        run.record = run_cell(run.cell, run.context, partial(on_epoch, run.cell))


class _Run:
    """A running cell: `training` is the one that it waits for, and at the end it has a `record`."""

    training: Training
    record: Record

    def __init__(self, cell: Cell, context: WorkerContext, on_epoch: OnEpoch) -> None:
        self.cell, self.context = cell, context
        self._steps = _steps(cell, context, on_epoch)
        self._plugins = plugins_of(cell, context.host)
        self._seconds = 0.0

    def advance(self, trained: Trained | None) -> bool:
        """Continue with the result of the last training; return False if the cell has a record."""
        started = time.perf_counter()
        try:
            self.training = next(self._steps) if trained is None else self._steps.send(trained)
        except StopIteration as end:
            self._add_seconds(trained, started)
            outcome: Outcome = end.value
            facts = outcome.score_dtype, outcome.trained.engine
            provenance = provenance_of(self.context.device, self.context.threads, self._plugins, *facts)
            self.record = record_of(self.cell, outcome, self._seconds, provenance)
        except (Exception, SystemExit) as error:  # a plugin that exits ends its cell, not the run
            self.fail(error)
        else:
            self._add_seconds(trained, started)
            return True
        return False

    def fail(self, error: BaseException) -> None:
        """End with a failed record."""
        provenance = provenance_of(self.context.device, self.context.threads, self._plugins)
        self.record = failed_record(self.cell, error, provenance)

    def _add_seconds(self, trained: Trained | None, started: float) -> None:
        self._seconds += time.perf_counter() - started + (trained.seconds if trained else 0.0)


def _steps(cell: Cell, context: WorkerContext, on_epoch: OnEpoch) -> ProtocolSteps:
    """Run the protocol of `cell`; every error is raised by a step, where the run handles it."""
    return (yield from PROTOCOLS[cell.setting.protocol.name](cell, context, on_epoch))
