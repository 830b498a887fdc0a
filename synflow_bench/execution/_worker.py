"""A worker process: one device, a fixed number of threads, one cell at a time until its pipe closes."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import current_process, parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path

from synflow_bench.execution._bench import make_bench
from synflow_bench.host import PluginFile
from synflow_bench.protocols import Bench, run_cell
from synflow_bench.records import Epoch, Record
from synflow_bench.suites import Cell


@dataclass(frozen=True)
class CellStarted:
    """The worker is set up and has begun its cell."""


@dataclass(frozen=True)
class EpochFinished:
    """The running cell has finished an epoch."""

    epoch: Epoch


@dataclass(frozen=True)
class CannotStart:
    """The worker ends, because it could not be set up."""

    reason: str


Message = CellStarted | EpochFinished | CannotStart | Record


def work(pipe: Connection, data_root: Path, device: str, threads: int, plugins: Sequence[PluginFile]) -> None:
    """Receive cells, send messages, until the other end closes."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    current_process().daemon = False  # seen from here: a worker may have processes that read its data
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # nobody listens any more
        try:
            bench = make_bench(data_root, device, threads, plugins)
        except Exception as error:
            pipe.send(CannotStart(f"{type(error).__name__}: {' '.join(str(error).split())}"))
        else:
            _serve(pipe, bench)


def _serve(pipe: Connection, bench: Bench) -> None:
    while True:
        cell: Cell = pipe.recv()
        pipe.send(CellStarted())
        pipe.send(run_cell(cell, bench, lambda epoch: pipe.send(EpochFinished(epoch))))


def _die_with_parent() -> None:
    """End at once when the front process is gone, however it went: nobody is left to write the record."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
