"""A worker process: one device, a fixed number of threads, one batch of cells after another."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import current_process, parent_process
from multiprocessing.connection import Connection, wait
from typing import Any

from synflow_bench.errors import one_line
from synflow_bench.execution.containment import contained
from synflow_bench.execution.executor import Resources, make_context
from synflow_bench.execution.gpus import MemoryUsed
from synflow_bench.execution.relay import READY
from synflow_bench.process import ProcessState, SharedCode
from synflow_bench.protocols import CellInterrupted, StopRequest, WorkerContext, may_batch, run_cells
from synflow_bench.records import Epoch, Record, key_of
from synflow_bench.suites import Cell


@dataclass(frozen=True)
class WorkerSetup:
    """The part of a run that a worker is for.

    Attributes:
        resources: The resources of the run, with the plugin files that the worker loads.
        device: The device of the worker.
        distributions: The distributions of third parties whose plugins it loads.
    """

    resources: Resources
    device: str
    distributions: frozenset[str] = frozenset()

    @property
    def has_third_parties(self) -> bool:
        """True if code of third parties runs in the worker."""
        return bool(self.distributions or self.resources.plugins)


@dataclass(frozen=True)
class CellsStarted:
    """The worker is set up and has started its cells."""


@dataclass(frozen=True)
class CellsDeclined:
    """Cells of this setting cannot run in one batch: all but the first return to the queue."""


@dataclass(frozen=True)
class CellsInterrupted:
    """The worker ends, because it was asked to; its cells without a record have checkpoints, if any have."""


@dataclass(frozen=True)
class EpochFinished:
    """The running cell of `key` has finished an epoch."""

    key: str
    epoch: Epoch


@dataclass(frozen=True)
class CannotStart:
    """The worker ends, because it could not be set up."""

    reason: str


Message = CellsStarted | CellsDeclined | CellsInterrupted | EpochFinished | CannotStart | MemoryUsed | Record

_PIPE_CLOSED = (EOFError, OSError)


def work(pipe: Connection, setup: WorkerSetup, output: int) -> None:
    """Receive lists of cells and send messages until the other end of `pipe` closes.

    At SIGUSR1 the worker ends, after running cells have written their checkpoints.

    Args:
        pipe: The connection to the process of the run.
        setup: What the worker loads.
        output: The descriptor to which everything goes that is printed here.
    """
    with suppress(OSError):
        os.setsid()  # its children are killed with it, and a terminal's signals do not reach them
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    current_process().daemon = False  # multiprocessing lets no daemon have data workers
    _print_to(output)
    stop = _StopBySignal(pipe)
    signal.signal(signal.SIGUSR1, stop.handle)
    os.register_at_fork(after_in_child=pipe.close)  # a child that goes on here has no part in the run
    code = SharedCode() if setup.has_third_parties else None
    with suppress(*_PIPE_CLOSED):
        try:
            context = make_context(setup.resources, setup.device, only=setup.distributions, stop=stop)
        except Exception as error:
            pipe.send(CannotStart(one_line(error)))
            return
        try:
            _serve(pipe, context, stop, code)
        finally:
            context.close()


class _StopBySignal(StopRequest):
    """The stop of a worker; while it runs cells that have nothing to save, a signal ends it at once."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self.runs_cells = False

    def handle(self, *_: Any) -> None:
        self.request()
        if self.runs_cells and not self.has_progress:
            with suppress(*_PIPE_CLOSED):
                self._pipe.send(CellsInterrupted())
            os._exit(0)


def _serve(pipe: Connection, context: WorkerContext, stop: _StopBySignal, code: SharedCode | None) -> None:
    state = ProcessState()
    sys.stderr.flush()
    os.write(2, READY)
    while not stop.requested:
        cells: list[Cell] = pipe.recv()
        pipe.send(CellsStarted())
        if len(cells) > 1 and not may_batch(cells[0], context):
            pipe.send(CellsDeclined())
            del cells[1:]
        stop.has_progress, stop.runs_cells = False, True
        try:
            if stop.requested:
                break
            records = run_cells(
                cells, context, lambda cell, epoch: pipe.send(EpochFinished(key_of(cell), epoch))
            )
        except CellInterrupted:
            break
        finally:
            stop.runs_cells = False
        try:
            used, is_broken = MemoryUsed.of(context.device), False
        except RuntimeError:  # a fault on the device: nothing more can be computed in this process
            used, is_broken = None, True
            if len(cells) > 1:
                return  # each runs again in a process of its own, to find the one that is at fault
        if used is not None:
            pipe.send(used)
        replaced = code.replaced() if code else ()
        for record in contained(records, context, replaced):
            pipe.send(record)
        if is_broken or replaced:
            return
        state.restore()
    pipe.send(CellsInterrupted())


def _print_to(output: int) -> None:
    """Send to `output` what is printed here, from Python or not: it must not reach the results on stdout."""
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.close(output)
    sys.stdout = sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115


def _exit_with_parent() -> None:
    """Exit at once when the main process has ended, for then no process writes records."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
