"""The local executor: cells run on this machine, in long-lived worker processes."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import torch

from synflow_bench.errors import HandledError, one_line
from synflow_bench.execution.executor import ExecutorError, Resources
from synflow_bench.execution.worker import (
    CannotStart,
    CellsDeclined,
    CellsStarted,
    EpochFinished,
    Message,
    work,
)
from synflow_bench.protocols import OnCellEpoch, failed_record, provenance_of
from synflow_bench.records import Record, key_of
from synflow_bench.suites import Cell
from synflow_bench.training import (
    MAX_BATCHED,
    main_module_hidden,
    resolve_devices,
    thread_environment,
    usable_cores,
)

_CONTEXT = multiprocessing.get_context("spawn")

_STARTS = 2
"""The times in a row that a worker may fail to start before its slot is given up."""

_GRACE = 5.0
"""Seconds in which an idle worker may end its data workers."""


class WorkerDied(HandledError):  # noqa: N818  records name this kind
    """A worker process ended while it ran a cell."""


class LocalExecutor:
    """A pool of worker processes, each on one device; if one dies, only its cell fails.

    Raises:
        DeviceError: The device is not on this machine.
        UsageError: A pruner class cannot be sent to workers.
    """

    max_batched = MAX_BATCHED

    def __init__(self, resources: Resources, on_epoch: OnCellEpoch) -> None:
        devices = [str(device) for device in resolve_devices(resources.device)]
        pickle.dumps(resources.plugins)  # to refuse before the run what no worker could receive
        turns = islice(cycle(devices), resources.workers or _room(resources, devices))
        self._slots = [WorkerSlot(resources, device) for device in turns]
        self._on_epoch = on_epoch
        self._queue: deque[Cell] = deque()
        self._unbatchable: set[str] = set()
        self._suspects: deque[Cell] = deque()

    @property
    def workers(self) -> int:
        """The number of workers."""
        return len(self._slots)

    def submit(self, cell: Cell) -> None:
        """Queue a cell; workers start with the first ones."""
        self._queue.append(cell)

    def finished(self) -> Iterator[Record]:
        """Keep every worker busy and yield records as they come.

        Raises:
            ExecutorError: No more workers can be started.
        """
        while True:
            self._start_cells()
            busy = [slot for slot in self._slots if slot.cells]
            if not busy:
                return
            ready = wait([slot.pipe for slot in busy])
            for slot in busy:
                if slot.pipe in ready and (record := self._receive(slot)):
                    self._start_cells()
                    yield record

    def close(self) -> None:
        """Stop all workers, whatever they are doing."""
        self._queue.clear()
        self._suspects.clear()
        for slot in self._slots:
            slot.stop()

    def _start_cells(self) -> None:
        """Send queued cells to idle workers."""
        for slot in self._slots:
            if not slot.cells and (cells := self._next_batch()):
                slot.start(cells)

    def _next_batch(self) -> list[Cell]:
        """Remove cells of one setting from the queue, at most an equal share for each worker."""
        if self._suspects:
            return [self._suspects.popleft()]
        cells: list[Cell] = []
        share = min(MAX_BATCHED, -(-len(self._queue) // len(self._slots)))
        while self._queue and (not cells or (len(cells) < share and self._batchable(cells[0]))):
            cells.append(self._queue.popleft())
        return cells

    def _batchable(self, cell: Cell) -> bool:
        return self._queue[0].setting == cell.setting and cell.setting.digest not in self._unbatchable

    def _receive(self, slot: WorkerSlot) -> Record | None:
        try:
            message = slot.receive()
        except WorkerLostError as loss:
            return self._reap(slot, str(loss))
        match message:
            case EpochFinished():
                self._on_epoch(slot.cells[message.key], message.epoch)
            case CellsDeclined():
                cells, _ = slot.release(all_but_first=True)
                self._unbatchable.add(cells[0].setting.digest)
                self._queue.extendleft(reversed(cells))
            case Record():
                del slot.cells[message.key]
                return message
        return None

    def _reap(self, slot: WorkerSlot, cause: str) -> Record | None:
        """Return the failed record of a cell that had started; return one that had not to the queue.

        If several cells had started, each runs again alone, to find the one that ends its worker.
        """
        cells, started = slot.release()
        if started and len(cells) == 1:
            error = WorkerDied(f"the worker {cause}")
            return failed_record(cells[0], error, provenance_of(torch.device(slot.device), slot.threads, {}))
        (self._suspects if started else self._queue).extendleft(reversed(cells))
        if slot.failed_starts >= _STARTS:
            self._slots.remove(slot)
        if not self._slots:
            raise ExecutorError(f"no worker can start: the last one {cause} before it began a cell")
        return None


def _room(resources: Resources, devices: list[str]) -> int:
    """Return the number of workers that the machine has room for."""
    return max(1, usable_cores() // resources.threads) if devices == ["cpu"] else len(devices)


class WorkerLostError(Exception):
    """The worker of a slot has died, or could not be set up; the message ends "the worker ..."."""


class WorkerSlot:
    """A worker process that is started at first use, and again after a death.

    Attributes:
        cells: The cells that it has to run in one batch, by key.
        started: True if it has started them.
        failed_starts: The number of workers in a row that ended before they had started a cell.
    """

    pipe: Connection

    def __init__(self, resources: Resources, device: str) -> None:
        self.device = device
        self.threads = resources.threads
        self.cells: dict[str, Cell] = {}
        self.started = False
        self.failed_starts = 0
        self._has_run = False
        self._resources = resources
        self._process: BaseProcess | None = None

    def start(self, cells: Sequence[Cell]) -> None:
        """Send cells of one setting to the worker, which is started if it is not alive.

        Raises:
            ExecutorError: The system cannot start another process.
        """
        if self._process is None or not self._process.is_alive():
            self.stop()
            self._spawn()
        self.cells, self.started = {key_of(cell): cell for cell in cells}, False
        try:
            self.pipe.send(list(cells))
        except (BrokenPipeError, ConnectionResetError):
            return  # it has just died, as `receive` will report

    def receive(self) -> Message:
        """Return the worker's next message.

        Raises:
            WorkerLostError: There is none; the message is the reason.
        """
        try:
            message: Message = self.pipe.recv()
        except (EOFError, OSError):
            raise WorkerLostError(self._join()) from None
        if isinstance(message, CannotStart):
            self._join()
            raise WorkerLostError(f"could not be set up ({message.reason})")
        if isinstance(message, CellsStarted):
            self.started, self.failed_starts, self._has_run = True, 0, True
        return message

    def release(self, *, all_but_first: bool = False) -> tuple[list[Cell], bool]:
        """Remove all cells, or all but the first; return them, and True if they had started."""
        if not self.cells:
            raise RuntimeError("the slot has no cells")
        kept = dict([*self.cells.items()][: int(all_but_first)])
        released = [cell for key, cell in self.cells.items() if key not in kept]
        self.cells = kept
        self.failed_starts += not self.started
        return released, self.started

    def stop(self) -> None:
        """End the worker, whatever it is doing; an idle one may first end its data workers."""
        if self._process is not None:
            if self._has_run and not self.cells:
                self.pipe.close()
                self._process.join(_GRACE)
            self._process.kill()
            self._join()

    def _spawn(self) -> None:
        self._has_run = False
        resources, environment = self._resources, thread_environment(self.threads)
        try:
            self.pipe, remote = _CONTEXT.Pipe()
            with remote, _interrupts_ignored(), main_module_hidden(), _environment(environment):
                arguments = (remote, resources.data_root, self.device, self.threads, resources.plugins)
                process = _CONTEXT.Process(target=work, args=arguments, daemon=True)
                process.start()
        except Exception as error:
            raise ExecutorError(f"cannot start a worker process: {one_line(error)}") from error
        self._process = process

    def _join(self) -> str:
        """Wait for the end of the worker; return the cause of its death."""
        process, self._process = self._process, None
        self.pipe.close()
        if process is None:
            return "is gone"
        process.join()
        return _cause_of_death(process.exitcode)


def _cause_of_death(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"was killed by {name}{hint}"
    return f"ended with exit code {code}"


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Let processes that start here ignore Ctrl-C, which reaches all processes of a terminal.

    Only the main process handles it.
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
    """Set environment variables for processes that start here; one thread at a time may do so."""
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
