"""A worker process: one device, a fixed number of threads, one cell after the other until its pipe closes."""

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
from synflow_bench.protocols import Bench, may_share, run_cells
from synflow_bench.records import Epoch, Record, key_of
from synflow_bench.suites import Cell


@dataclass(frozen=True)
class CellsStarted:
    """The worker is set up and has begun its cells."""


@dataclass(frozen=True)
class CellsDeclined:
    """Cells of this setting cannot be run together: all but the first are given back."""


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
            _end_with_pipe(pipe, bench)


def _end_with_pipe(pipe: Connection, bench: Bench) -> None:
    """Serve until nobody listens, then end: at once, for an orderly end of torch takes seconds."""
    try:
        _serve(pipe, bench)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        bench.close()
        os._exit(0)


def _serve(pipe: Connection, bench: Bench) -> None:
    while True:
        cells: list[Cell] = pipe.recv()
        pipe.send(CellsStarted())
        if len(cells) > 1 and not may_share(cells[0], bench):
            pipe.send(CellsDeclined())
            del cells[1:]
        for record in run_cells(
            cells, bench, lambda cell, epoch: pipe.send(EpochFinished(key_of(cell), epoch))
        ):
            pipe.send(record)


def _die_with_parent() -> None:
    """End at once when the front process is gone, however it went: nobody is left to write the record."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
