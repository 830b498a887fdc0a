"""A place for one worker process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from synflow_bench.execution._executor import Resources
from synflow_bench.execution._worker import CannotStart, CellsStarted, Message, work
from synflow_bench.records import key_of
from synflow_bench.suites import Cell
from synflow_bench.training import thread_environment

_CONTEXT = multiprocessing.get_context("spawn")

_FAREWELL = 5.0
"""Seconds that an idle worker is given to end the processes that read its data."""


class WorkerLostError(Exception):
    """The worker of a slot has died, or could not start."""


class Slot:
    """A worker process that is made at first use, and again after a death.

    `cells` are what it has to run together, by key, `begun` whether it has begun; `failed_starts` counts the
    workers in a row that ended before they had begun anything.
    """

    pipe: Connection

    def __init__(self, resources: Resources, device: str) -> None:
        self.device = device
        self.threads = resources.threads
        self.cells: dict[str, Cell] = {}
        self.begun = False
        self.failed_starts = 0
        self._served = False
        self._data_root = resources.data_root
        self._plugins = resources.plugins
        self._process: BaseProcess | None = None

    def start(self, cells: Sequence[Cell]) -> None:
        """Give the worker cells of one setting; one that has died idle is replaced."""
        if self._process is None or not self._process.is_alive():
            self.stop()
            self._spawn()
        self.cells, self.begun = {key_of(cell): cell for cell in cells}, False
        try:
            self.pipe.send(list(cells))
        except (BrokenPipeError, ConnectionResetError):
            return  # it has died just now: reading its pipe will say so

    def receive(self) -> Message:
        """The worker's next message; raises `WorkerLostError` with the reason where there is none."""
        try:
            message: Message = self.pipe.recv()
        except (EOFError, OSError):
            raise WorkerLostError(self._bury()) from None
        if isinstance(message, CannotStart):
            self._bury()
            raise WorkerLostError(f"said {message.reason!r}")
        if isinstance(message, CellsStarted):
            self.begun, self.failed_starts, self._served = True, 0, True
        return message

    def release(self, *, but_first: bool = False) -> tuple[list[Cell], bool]:
        """Take the cells back, or all but the first, and say whether they had begun."""
        if not self.cells:
            raise RuntimeError("the slot has no cells")
        kept = dict([*self.cells.items()][: int(but_first)])
        released = [cell for key, cell in self.cells.items() if key not in kept]
        begun, self.cells = self.begun, kept
        self.failed_starts += not begun
        return released, begun

    def stop(self) -> None:
        """End the worker, whatever it is doing; one that waits for cells may end those that read its data."""
        if self._process is not None:
            if self._served and not self.cells:
                self.pipe.close()
                self._process.join(_FAREWELL)
            self._process.kill()
            self._bury()

    def _spawn(self) -> None:
        self._served = False
        self.pipe, theirs = _CONTEXT.Pipe()
        arguments = (theirs, self._data_root, self.device, self.threads, self._plugins)
        self._process = _CONTEXT.Process(target=work, args=arguments, daemon=True)
        with _interrupts_ignored(), _environment(thread_environment(self.threads)):
            self._process.start()
        theirs.close()

    def _bury(self) -> str:
        """Forget the worker; returns how it ended."""
        process, self._process = self._process, None
        self.pipe.close()
        if process is None:
            return "is gone"
        process.join()
        return _cause_of_death(process.exitcode)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """A process started here ignores Ctrl-C, which goes to all processes of a terminal.

    The front process decides what it means.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may change signal handlers
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """A process started here has these environment variables."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _cause_of_death(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"was killed by {name}{hint}"
    return f"ended with exit code {code}"
