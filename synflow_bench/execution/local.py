"""Cells on this machine, in long-lived worker processes."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from itertools import cycle, islice
from multiprocessing.connection import wait

import torch

from synflow_bench.errors import HandledError
from synflow_bench.execution._executor import ExecutorError, OnEpoch, Resources
from synflow_bench.execution._slot import Slot, WorkerLostError
from synflow_bench.execution._worker import CellsDeclined, EpochFinished
from synflow_bench.protocols import failed_record, provenance_of
from synflow_bench.records import Record
from synflow_bench.suites import Cell
from synflow_bench.training import MOST_TOGETHER, resolve_devices

_STARTS = 2
"""How often in a row a worker may fail to start before its slot is given up."""


class WorkerDied(HandledError):  # noqa: N818  it is the kind that a record names
    """A worker process ended while it ran a cell."""


class LocalExecutor:
    """As many workers as there is room for, each bound to one device; one that dies costs its cell only."""

    most_together = MOST_TOGETHER

    def __init__(self, resources: Resources, on_epoch: OnEpoch) -> None:
        devices = [str(device) for device in resolve_devices(resources.device)]
        turns = islice(cycle(devices), resources.workers or _room(resources, devices))
        self._slots = [Slot(resources, device) for device in turns]
        self._on_epoch = on_epoch
        self._queue: deque[Cell] = deque()
        self._alone: set[str] = set()
        self._suspects: deque[Cell] = deque()

    @property
    def workers(self) -> int:
        """How many cells run at a time."""
        return len(self._slots)

    def submit(self, cell: Cell) -> None:
        """Queue a cell; workers start with the first ones."""
        self._queue.append(cell)

    def finished(self) -> Iterator[Record]:
        """Keep every worker busy and yield records as they come."""
        self._feed()
        while busy := [slot for slot in self._slots if slot.cells]:
            ready = wait([slot.pipe for slot in busy])
            for slot in busy:
                if slot.pipe in ready and (record := self._receive(slot)):
                    self._feed()
                    yield record

    def close(self) -> None:
        """End all workers, whatever they are doing."""
        self._queue.clear()
        self._suspects.clear()
        for slot in self._slots:
            slot.stop()

    def _feed(self) -> None:
        for slot in self._slots:
            if not slot.cells and (cells := self._next()):
                slot.start(cells)

    def _next(self) -> list[Cell]:
        """Cells to run together: of one setting, and no more than leaves as many for the other workers."""
        if self._suspects:
            return [self._suspects.popleft()]
        cells: list[Cell] = []
        share = min(MOST_TOGETHER, -(-len(self._queue) // len(self._slots)))
        while self._queue and (not cells or (len(cells) < share and self._goes_with(cells[0]))):
            cells.append(self._queue.popleft())
        return cells

    def _goes_with(self, cell: Cell) -> bool:
        return self._queue[0].setting == cell.setting and cell.setting.digest not in self._alone

    def _receive(self, slot: Slot) -> Record | None:
        try:
            message = slot.receive()
        except WorkerLostError as loss:
            return self._lose(slot, str(loss))
        if isinstance(message, EpochFinished):
            self._on_epoch(slot.cells[message.key], message.epoch)
        if isinstance(message, CellsDeclined):
            self._take_back(slot)
        if not isinstance(message, Record):
            return None
        del slot.cells[message.key]
        return message

    def _take_back(self, slot: Slot) -> None:
        cells, _ = slot.release(but_first=True)
        self._alone.add(cells[0].setting.digest)
        self._queue.extendleft(reversed(cells))
        self._feed()

    def _lose(self, slot: Slot, cause: str) -> Record | None:
        """The failed record of a cell that had begun; one that had not waits for another worker.

        Of several cells that had begun, each is run again by itself: which one it was will show.
        """
        cells, begun = slot.release()
        if begun and len(cells) == 1:
            error = WorkerDied(f"the worker {cause}")
            return failed_record(cells[0], error, provenance_of(torch.device(slot.device), slot.threads, {}))
        (self._suspects if begun else self._queue).extendleft(reversed(cells))
        if slot.failed_starts >= _STARTS:
            self._slots.remove(slot)
        if not self._slots:
            raise ExecutorError(f"no worker can start: the last one {cause} before it began a cell")
        self._feed()
        return None


def _room(resources: Resources, devices: list[str]) -> int:
    return max(1, _usable_cores() // resources.threads) if devices == ["cpu"] else len(devices)


def _usable_cores() -> int:
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
