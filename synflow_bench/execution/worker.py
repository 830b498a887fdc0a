"""A worker process: one device, a fixed number of threads, one batch of cells after another."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import current_process, parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path

from synflow_bench.errors import one_line
from synflow_bench.execution.executor import make_context
from synflow_bench.host import PluginClass, PluginFile
from synflow_bench.protocols import WorkerContext, may_batch, run_cells
from synflow_bench.records import Epoch, Record, key_of
from synflow_bench.suites import Cell


@dataclass(frozen=True)
class CellsStarted:
    """The worker is set up and has started its cells."""


@dataclass(frozen=True)
class CellsDeclined:
    """Cells of this setting cannot run in one batch: all but the first return to the queue."""


@dataclass(frozen=True)
class EpochFinished:
    """The running cell of `key` has finished an epoch."""

    key: str
    epoch: Epoch


@dataclass(frozen=True)
class CannotStart:
    """The worker ends, because it could not be set up."""

    reason: str


Message = CellsStarted | CellsDeclined | EpochFinished | CannotStart | Record

_PIPE_CLOSED = (EOFError, BrokenPipeError, ConnectionResetError)


def work(
    pipe: Connection,
    data_root: Path,
    device: str,
    threads: int,
    plugins: Sequence[PluginFile | PluginClass],
) -> None:
    """Receive lists of cells and send messages until the other end of `pipe` closes."""
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    current_process().daemon = False  # multiprocessing lets no daemon have data workers
    _print_to_stderr()
    with suppress(*_PIPE_CLOSED):
        try:
            context = make_context(data_root, device, threads, plugins)
        except Exception as error:
            pipe.send(CannotStart(one_line(error)))
            return
        try:
            _serve(pipe, context)
        except _PIPE_CLOSED:
            context.close()
            os._exit(0)  # an orderly exit of torch takes seconds


def _serve(pipe: Connection, context: WorkerContext) -> None:
    while True:
        cells: list[Cell] = pipe.recv()
        pipe.send(CellsStarted())
        if len(cells) > 1 and not may_batch(cells[0], context):
            pipe.send(CellsDeclined())
            del cells[1:]
        for record in run_cells(
            cells, context, lambda cell, epoch: pipe.send(EpochFinished(key_of(cell), epoch))
        ):
            pipe.send(record)


def _print_to_stderr() -> None:
    """Send to stderr what plugins print: the main process may write results to the same stdout."""
    with suppress(OSError):  # one of them is closed
        os.dup2(2, 1)
    sys.stdout = sys.stderr


def _exit_with_parent() -> None:
    """Exit at once when the main process has ended, for then no process writes records."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
