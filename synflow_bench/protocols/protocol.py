"""The protocols by name, and the run of cells: every cell gets a record, even if an error ends it.

A protocol is a generator function: it yields one training after another and receives their results, so that
the trainings of several cells can be computed in one batch. What a suite says about a protocol is in
`synflow_bench.suites`.
"""

from __future__ import annotations

import signal
import time
import traceback
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from synflow_bench.errors import RecordError, one_line
from synflow_bench.protocols.checkpoint import CellInterrupted, Journal, UnusableCheckpointError
from synflow_bench.protocols.context import (
    Outcome,
    ProtocolSteps,
    PrunedNetwork,
    PruningSteps,
    WorkerContext,
    examples_of,
    network_of,
    training_of,
)
from synflow_bench.protocols.multishot import multishot, prune_in_levels
from synflow_bench.protocols.record import failed_record, plugins_of, provenance_of, record_of
from synflow_bench.protocols.singleshot import prune_once, singleshot
from synflow_bench.records import Epoch, Provenance, Record, key_of
from synflow_bench.suites import Cell
from synflow_bench.training import (
    OnEpoch,
    Snapshot,
    Trained,
    Training,
    can_batch,
    is_filled_up,
    train_batch,
)

PROTOCOLS: dict[str, Callable[[Cell, WorkerContext, OnEpoch, Journal], ProtocolSteps]] = {
    "singleshot": singleshot,
    "multishot": multishot,
    "finetune": singleshot,
}
"""The function that runs a cell, by the name of the protocol of its setting."""

PRUNINGS: dict[str, Callable[[Cell, WorkerContext, Journal], PruningSteps]] = {
    "singleshot": prune_once,
    "multishot": prune_in_levels,
    "finetune": prune_once,
}
"""The function that runs a cell up to its last pruning, by the name of the protocol."""

OnCellEpoch = Callable[[Cell, Epoch], None]


def run_cell(cell: Cell, context: WorkerContext, on_epoch: OnEpoch = lambda _: None) -> Record:
    """Run `cell`; an error becomes a failed or a skipped record.

    Raises:
        CellInterrupted: As `run_cells`.
    """
    return run_cells([cell], context, lambda _, epoch: on_epoch(epoch))[0]


def run_cells(cells: Sequence[Cell], context: WorkerContext, on_epoch: OnCellEpoch) -> list[Record]:
    """Run `cells` in one batch; each gets the same record as when it runs alone.

    A cell with a usable checkpoint continues from it, and gets the same record. Where training the batch
    fails, its cells are run one by one; where it finds no memory on a GPU, by the ordinary step.

    Args:
        cells: One cell, or several of one setting for which `may_batch` holds.
        context: The context of this process.
        on_epoch: Called with the cell and every point of its curve that is computed now.

    Raises:
        CellInterrupted: A stop was requested; the cells have checkpoints, if the context has any.
    """
    with _own_draws(context.device):
        runs = [RunningCell(cell, context, partial(on_epoch, cell)) for cell in cells]
        keeper = CellKeeper(runs, context)
        waiting = [run for run in runs if run.advance(None)]
        while waiting:
            try:
                results = _train(waiting, keeper)
            except BaseException as error:
                if _ends_the_process(error, context):
                    raise
                waiting = _after_error(waiting, error, on_epoch)
            else:
                waiting = [run for run in waiting if run.advance(results[run])]
    return [run.record for run in runs]


def _train(runs: Sequence[RunningCell], keeper: CellKeeper) -> dict[RunningCell, Trained]:
    """Train what the cells wait for; those that continue from different steps are in different batches."""
    batches: dict[Hashable, list[RunningCell]] = {}
    for run in runs:
        batches.setdefault(run.training.place, []).append(run)
    results: dict[RunningCell, Trained] = {}
    for batch in batches.values():
        trained = train_batch([run.training for run in batch], keeper)
        results |= dict(zip(batch, trained, strict=True))
    return results


def prune_cell(cell: Cell, context: WorkerContext) -> PrunedNetwork:
    """Run `cell` up to its last pruning; only what its protocol trains before that is trained.

    Raises:
        HandledError: The dataset, the network or the pruner cannot be used.
    """
    with _own_draws(context.device):
        steps = PRUNINGS[cell.setting.protocol.name](cell, context, Journal())
        trained: Trained | None = None
        while True:
            try:
                training = next(steps) if trained is None else steps.send(trained)
            except StopIteration as end:
                ready: PrunedNetwork = end.value
                return ready
            trained = train_batch([training])[0]


def may_batch(cell: Cell, context: WorkerContext) -> bool:
    """Return True if cells with the setting of `cell` may run in one batch; tried once per setting."""
    setting = cell.setting.digest
    if setting not in context.batchable:
        try:
            examples, network = examples_of(cell, context), network_of(cell, context, "init")
            training = training_of(cell, network, {}, examples, alone=context.alone)
            context.batchable[setting] = can_batch(training)
        except torch.OutOfMemoryError:  # there may be room another time
            return False
        except Exception:  # the cell's own run will report it
            context.batchable[setting] = False
    return context.batchable[setting]


def _after_error(
    runs: Sequence[RunningCell], error: BaseException, on_epoch: OnCellEpoch
) -> list[RunningCell]:
    """Run the cells of a batch one by one; return the only cell if it begins anew.

    Without memory for a batch that is filled up, which would be as large for one cell, they run again by the
    ordinary step.
    """
    context = runs[0].context
    if isinstance(error, torch.OutOfMemoryError):
        traceback.clear_frames(error.__traceback__)  # they hold the tensors of the batch
        if is_filled_up(runs[0].training):
            context = replace(context, alone=True)
    if len(runs) == 1 and context is runs[0].context:
        return [run for run in runs if run.fail(error)]
    for run in runs:
        run.record = run_cell(run.cell, context, partial(on_epoch, run.cell))
    return []


class CellKeeper:
    """Saves the cells of a batch when minutes or epochs have passed since the last time, or for a stop."""

    def __init__(self, runs: Sequence[RunningCell], context: WorkerContext) -> None:
        self._runs = runs
        self._checkpoints, self._stop = context.checkpoints, context.stop
        self._saved, self._epochs = time.monotonic(), -1

    def is_due(self, *, epoch_begins: bool) -> bool:
        """Return True if it is time to save."""
        self._stop.has_progress = True
        if self._stop.requested:
            return True
        if self._checkpoints is None:
            return False
        self._epochs += epoch_begins
        minutes, epochs = self._checkpoints.minutes, self._checkpoints.epochs
        return bool(
            (epochs and self._epochs >= epochs)
            or (minutes and time.monotonic() - self._saved >= 60 * minutes)
        )

    def keep(self, saved: Sequence[tuple[Training, Snapshot]]) -> None:
        """Write a checkpoint for each training's cell.

        Raises:
            CellInterrupted: A stop was requested.
        """
        of_training = {id(run.training): run for run in self._runs}
        for training, snapshot in saved:
            of_training[id(training)].save(snapshot)
        self._saved, self._epochs = time.monotonic(), 0
        if self._stop.requested:
            raise CellInterrupted("stopped before a training step")


_FAULTS_OF_THE_MACHINE = (MemoryError, OSError, RecordError, torch.OutOfMemoryError)
"""After other errors, a cell would fail again, so its checkpoint is deleted."""


class RunningCell:
    """A running cell: `training` is the one that it waits for, and at the end it has a `record`."""

    training: Training
    record: Record

    def __init__(self, cell: Cell, context: WorkerContext, on_epoch: OnEpoch) -> None:
        self.cell, self.context = cell, context
        self._on_epoch = on_epoch
        self._key = key_of(cell)
        self._plugins = plugins_of(cell, context.host)
        self._notes: list[str] = []
        self._unsaved = False
        self._start_anew()
        if context.checkpoints is not None:
            saved, reasons = context.checkpoints.load(self._key, self._made_by)
            self._notes += [_not_used(reason) for reason in reasons]
            if saved is not None:
                state, self._journal = saved
                self._seconds, self._resumed = state.seconds, state.resumed + 1
                self._steps = _steps(cell, context, on_epoch, self._journal)

    def advance(self, trained: Trained | None) -> bool:
        """Continue with the result of the last training; return False if the cell has a record."""
        started = time.perf_counter()
        try:
            self.training = self._next(trained)
        except StopIteration as end:
            self._add_seconds(trained, started)
            return self._finish(end.value)
        except BaseException as error:  # a plugin that exits ends its cell, not the run
            if _ends_the_process(error, self.context):
                raise
            return self.fail(error)
        self._add_seconds(trained, started)
        return True

    def save(self, snapshot: Snapshot) -> None:
        """Write a checkpoint with this state of the training; if that fails, the record says so."""
        if self.context.checkpoints is None:
            return
        try:
            saved = self._journal.saved(
                snapshot,
                key=self._key,
                made_by=self._made_by,
                data=self._data,
                seconds=self._seconds,
                resumed=self._resumed,
            )
            self.context.checkpoints.save(saved)
        except Exception as error:  # the cell can go on without one
            if not self._unsaved:
                self._notes.append(f"no checkpoint could be written: {one_line(error, with_type=False)}")
            self._unsaved = True

    def fail(self, error: BaseException) -> bool:
        """End with a failed record, or begin anew where a checkpoint may be to blame; return True then.

        The checkpoint is deleted, unless the machine is to blame.
        """
        is_of_cell = not isinstance(error, _FAULTS_OF_THE_MACHINE)
        if self._resumed and is_of_cell and isinstance(error, Exception):
            is_known = isinstance(error, UnusableCheckpointError)
            self._notes.append(_not_used(str(error) if is_known else one_line(error)))
            self._start_anew()
            return self.advance(None)
        self.record = failed_record(self.cell, error, self._provenance())
        if self.context.checkpoints is not None and is_of_cell:
            self.context.checkpoints.discard(self._key)
        return False

    def _finish(self, outcome: Outcome) -> bool:
        facts = outcome.score_dtype, outcome.trained.engine
        try:
            self.record = record_of(self.cell, outcome, self._seconds, self._provenance(*facts))
            if self.context.on_outcome:
                self.context.on_outcome(self.record, outcome)
        except Exception as error:  # a full disk, perhaps, or a checkpoint whose numbers do not agree
            return self.fail(error)
        return False

    @property
    def _made_by(self) -> dict[str, Any]:
        """The software and hardware on which the bits of the results depend."""
        provenance = provenance_of(self.context.device, self.context.threads, self._plugins)
        fields = {"synflow_bench", "torch", "device", "threads", "plugins"}
        cpu = torch.backends.cpu.get_cpu_capability()
        return {**provenance.model_dump(include=fields), "kind": self.context.device.type, "vectors": cpu}

    @property
    def _data(self) -> str | None:
        """The sha256 of the examples, once they are loaded."""
        return self.context.data_digest(self.cell.setting.dataset)

    def _start_anew(self) -> None:
        self._journal, self._seconds, self._resumed = Journal(), 0.0, 0
        self._steps = _steps(self.cell, self.context, self._on_epoch, self._journal)

    def _next(self, trained: Trained | None) -> Training:
        """Return the next training that is not finished; the result of the last one is `trained`."""
        if trained is None:
            training = next(self._steps)
        else:
            self._journal.add(trained)
            training = self._steps.send(trained)
        while (finished := self._journal.finished(training)) is not None:
            try:
                training = self._steps.send(finished)
            except StopIteration:
                raise UnusableCheckpointError("it has more trainings than the cell") from None
        return self._journal.resumed(training, self._data)

    def _provenance(self, *facts: Any) -> Provenance:
        made = provenance_of(self.context.device, self.context.threads, self._plugins, *facts)
        return made.model_copy(
            update={"warnings": tuple(self._notes), "resumed": self._resumed, "data": self._data}
        )

    def _add_seconds(self, trained: Trained | None, started: float) -> None:
        self._seconds += time.perf_counter() - started + (trained.seconds if trained else 0.0)


def _own_draws(device: torch.device) -> AbstractContextManager[None]:
    """Leave torch's global generators, also that of a CUDA device, as they were before."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


def _ends_the_process(error: BaseException, context: WorkerContext) -> bool:
    """Return True for a stop that was requested, and for Ctrl-C; otherwise a plugin has raised the error.

    A worker ignores Ctrl-C.
    """
    if isinstance(error, KeyboardInterrupt):
        return signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    return isinstance(error, CellInterrupted) and context.stop.requested


def _not_used(reason: str) -> str:
    return f"a checkpoint was not used: {reason}"


def _steps(cell: Cell, context: WorkerContext, on_epoch: OnEpoch, journal: Journal) -> ProtocolSteps:
    """Run the protocol of `cell`; every error is raised by a step, where the run handles it."""
    return (yield from PROTOCOLS[cell.setting.protocol.name](cell, context, on_epoch, journal))
