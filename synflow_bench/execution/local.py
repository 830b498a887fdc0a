"""The local executor: cells run on this machine, in long-lived worker processes."""

from __future__ import annotations

import pickle
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from multiprocessing.connection import wait
from typing import Any, ClassVar

import torch

from synflow_bench.errors import HandledError, UsageError
from synflow_bench.execution.claims import CellClaims
from synflow_bench.execution.executor import ExecutorError, Resources
from synflow_bench.execution.forkserver import (
    GRACE,
    ForkServer,
    ForkServerError,
    WorkerEnded,
    WorkerStarted,
    end_session,
)
from synflow_bench.execution.gpus import CELLS_PER_GPU, GpuSharing, MemoryUsed
from synflow_bench.execution.origin import FIRST_PARTY_ORIGIN, Origin, origin_of
from synflow_bench.execution.relay import OutputRelay
from synflow_bench.execution.slot import STOPPED_INTERVAL, WorkerDied, WorkerSlot, cause_of_death
from synflow_bench.execution.worker import CellsDeclined, CellsInterrupted, CellsStarted, EpochFinished
from synflow_bench.host import Host
from synflow_bench.limits import can_measure_memory
from synflow_bench.protocols import OnCellEpoch, failed_record, plugins_of, provenance_of
from synflow_bench.records import Record, key_of
from synflow_bench.suites import Cell
from synflow_bench.training import resolve_devices, usable_cores

_STARTS = 2
"""The times in a row that a worker may fail to start; then its slot is given up, or the cells of a plugin."""

_MEMORY_INTERVAL = 0.25
"""The seconds between two looks at the memory of workers that have a limit."""


class LocalExecutor:
    """A pool of worker processes, each on one device; if one dies, only its cell fails.

    A worker runs either first-party code alone, or that of the third parties of one row of a board. A GPU
    gets further workers while its memory has room for them; a cell that finds no memory beside others runs
    again alone. The option `cells_per_gpu` limits the cells on a GPU.

    Raises:
        DeviceError: The device is not on this machine.
        UsageError: A pruner class cannot be sent to workers, memory cannot be limited on this system, or
            cells are limited on a GPU where there is none.
    """

    options: ClassVar[frozenset[str]] = frozenset({CELLS_PER_GPU})

    def __init__(self, resources: Resources, on_epoch: OnCellEpoch) -> None:
        devices = [str(device) for device in resolve_devices(resources.device)]
        pickle.dumps(resources.plugins)  # to refuse before the run what no worker could receive
        if resources.limits.memory is not None and not can_measure_memory():
            raise UsageError("this system does not tell the memory of processes; leave out --memory-limit")
        self._sharing = GpuSharing.of(resources.options, devices, resources.threads, resources.workers)
        self.max_batched = self._sharing.most_batched(devices[0], 1)
        turns = islice(cycle(devices), resources.workers or _room(resources, devices))
        self._slots = [WorkerSlot(resources, device) for device in turns]
        self._resources = resources
        self._on_epoch = on_epoch
        self._host: Host | None = None
        self._origins: dict[tuple[str, str, str], Origin] = {}
        self._queues: dict[Origin, deque[Cell]] = {}
        self._suspects: deque[Cell] = deque()
        self._alone: deque[Cell] = deque()
        self._failed_starts = Counter[Origin]()
        self._unbatchable: set[str] = set()
        self._without_memory: set[str] = set()
        self._server: ForkServer | None = None
        self._lost_servers = Counter[str]()
        self._ending: dict[int, OutputRelay] = {}
        self._stops_at: float | None = None
        self.claims = CellClaims()

    @property
    def workers(self) -> int:
        """The number of workers."""
        return len(self._slots)

    def submit(self, cell: Cell) -> None:
        """Queue a cell; workers start with the first ones."""
        self._queues.setdefault(self._origin(cell), deque()).append(cell)

    def finished(self) -> Iterator[Record]:
        """Keep every worker busy and yield records as they come.

        Raises:
            ExecutorError: No more workers can be started.
        """
        while True:
            self._start_cells()
            if not any(slot.cells for slot in self._slots):
                return
            for record in self._events():
                self._start_cells()
                yield record

    def time_start(self) -> float:
        """Start one worker, and return the seconds until it is ready.

        Raises:
            ExecutorError: It cannot be started.
        """
        before = time.perf_counter()
        slot = self._slots[0]
        try:
            self._server = self._server or ForkServer(self._resources.threads)
            slot.start([], FIRST_PARTY_ORIGIN, self._server)
        except (ForkServerError, OSError) as error:
            raise ExecutorError(f"no worker can start: {error}") from error
        if not isinstance(slot.receive(), CellsStarted):
            raise ExecutorError(f"a worker process {slot.reason or 'ended before it began a cell'}")
        return time.perf_counter() - before

    def stop(self, seconds: float) -> Iterator[Record]:
        """Let running cells write their checkpoints, and yield the records of those that finish instead."""
        self._clear_queues()
        if self._server is None or self._resources.checkpoints is None:
            return
        self._stops_at = time.monotonic() + seconds
        for slot in self._slots:
            if slot.cells and slot.number is not None:
                self._server.end(slot.number, seconds)
        while any(slot.cells for slot in self._slots) and time.monotonic() < self._stops_at:
            yield from self._events()

    def close(self) -> None:
        """Stop all workers, whatever they are doing."""
        self._clear_queues()
        for slot in self._slots:
            self._part(slot, seconds=0.0 if slot.cells else GRACE)
            slot.release()
        if self._server is not None:
            self._wait_for_the_ending(self._server, time.monotonic() + GRACE)
            self._server.close()
            self._server = None
        for relay in self._ending.values():
            relay.close()
        self._ending.clear()

    def _clear_queues(self) -> None:
        self._queues.clear()
        self._suspects.clear()
        self._alone.clear()

    # Cells to workers

    def _origin(self, cell: Cell) -> Origin:
        key = cell.setting.dataset_name, cell.setting.model.name, str(cell.pruner)
        if key not in self._origins:
            self._origins[key] = origin_of(cell, self._plugins)
        return self._origins[key]

    @property
    def _plugins(self) -> Host:
        if self._host is None:
            self._host = Host.load(report=lambda _: None, files=self._resources.plugins)
        return self._host

    def _start_cells(self) -> None:
        """Send queued cells to idle workers."""
        for slot in self._slots:
            if not slot.cells and (cells := self._next_batch(slot)):
                self._start(slot, cells)

    def _start(self, slot: WorkerSlot, cells: list[Cell]) -> None:
        origin = self._origin(cells[0])
        if slot.number is not None and (slot.origin != origin or not slot.is_live):
            self._part(slot)
        try:
            if self._server is None:
                self._server = ForkServer(self._resources.threads)
            slot.start(cells, origin, self._server)
        except ForkServerError as error:
            raise ExecutorError(str(error)) from error
        except OSError:
            self._lose_server()

    def _next_batch(self, slot: WorkerSlot) -> list[Cell]:
        """Remove cells of one setting and origin from the queue, at most an equal share for each worker."""
        if self._alone:
            return [] if any(each.cells for each in self._slots) else [self._alone.popleft()]
        if self._suspects:
            return [self._suspects.popleft()]
        cells: list[Cell] = []
        most = self._sharing.most_batched(slot.device, len(self._beside(slot)))
        share = min(most, -(-sum(map(len, self._queues.values())) // len(self._slots)))
        while not cells and (queue := self._queue_for(slot)):
            while queue and (not cells or (len(cells) < share and self._batchable(queue[0], cells[0]))):
                cell = queue.popleft()
                if self.claims.take(cell):
                    cells.append(cell)
        return cells

    def _beside(self, slot: WorkerSlot) -> list[WorkerSlot]:
        """Return all slots of the device of a slot."""
        return [each for each in self._slots if each.device == slot.device]

    def _queue_for(self, slot: WorkerSlot) -> deque[Cell] | None:
        """Return the waiting cells of the worker's origin if there are some, else the first ones."""
        self._queues = {origin: queue for origin, queue in self._queues.items() if queue}
        if slot.is_live and slot.origin in self._queues:
            return self._queues[slot.origin]
        return next(iter(self._queues.values()), None)

    def _batchable(self, cell: Cell, first: Cell) -> bool:
        return cell.setting == first.setting and cell.setting.digest not in self._unbatchable

    def _requeue(self, cells: Sequence[Cell]) -> None:
        for cell in reversed(cells):
            self._queues.setdefault(self._origin(cell), deque()).appendleft(cell)

    def _give_back(self, cells: Sequence[Cell]) -> None:
        """Return cells to the queue from which other runs may take them too."""
        self._requeue(cells)
        for cell in cells:
            self.claims.give_back(cell)

    # Events of workers

    def _events(self) -> Iterator[Record]:
        """Wait until something happens, and yield the records that come of it."""
        server = self._server
        if server is None:
            return
        now = time.monotonic()
        relays = [slot.relay for slot in self._slots if slot.relay is not None]
        relays = [relay for relay in relays if relay.not_before <= now]
        ready = wait(
            [
                server.channel,
                *(slot.pipe for slot in self._slots if slot.cells and slot.pipe is not None),
                *(relay.descriptor for relay in relays if not relay.has_ended),
            ],
            self._pause(),
        )
        for relay in relays:
            if relay.descriptor in ready:
                relay.pump()
        for slot in list(self._slots):
            if slot.pipe is not None and slot.pipe in ready:
                yield from self._receive(slot)
        if server.channel in ready:
            yield from self._receive_from(server)
        now = time.monotonic()
        for slot in self._slots:
            if slot.exceeds(now) and slot.number is not None:
                server.end(slot.number)

    def _pause(self) -> float | None:
        """Return the seconds until a limit has to be checked; None if there is none."""
        times = [slot.deadline for slot in self._slots if slot.deadline is not None]
        times += [] if self._stops_at is None else [self._stops_at]
        pauses = [max(0.0, min(times) - time.monotonic())] if times else []
        pauses += [
            max(0.0, slot.relay.not_before - time.monotonic())
            for slot in self._slots
            if slot.relay is not None and slot.relay.not_before and not slot.relay.has_ended
        ]
        pauses += [_MEMORY_INTERVAL] if self._resources.limits.memory is not None else []
        pauses += [STOPPED_INTERVAL] if any(slot.cells for slot in self._slots) else []
        return min(pauses, default=None)

    def _receive(self, slot: WorkerSlot) -> Iterator[Record]:
        match slot.receive():
            case None if slot.number is not None and self._server is not None:
                self._server.end(slot.number)  # if it lives, it can do nothing any more
            case EpochFinished(key, epoch) if key in slot.cells:
                self._on_epoch(slot.cells[key], epoch)
            case CellsDeclined():
                cells, _ = slot.release(all_but_first=True)
                self._unbatchable.update(cell.setting.digest for cell in cells)
                self._give_back(cells)
            case MemoryUsed() as used if self._sharing.has_room(len(self._beside(slot)), used):
                self._slots.append(WorkerSlot(self._resources, slot.device))
            case CellsInterrupted():
                cells, _ = slot.release()
                self._part(slot)
                self._give_back(cells)
            case Record() as record if slot.finish(record.key):
                self._failed_starts.pop(slot.origin, None)
                if not slot.cells and slot.is_spent:
                    self._part(slot)
                if self._may_find_memory(record, slot):
                    self._alone.append(record.cell)
                else:
                    yield record

    def _may_find_memory(self, record: Record, slot: WorkerSlot) -> bool:
        """Return True, once per cell, if it found no memory on a device that others used meanwhile."""
        if record.error is None or record.error.kind != torch.OutOfMemoryError.__name__:
            return False
        first = record.key not in self._without_memory
        self._without_memory.add(record.key)
        return first and len(self._beside(slot)) > 1

    def _receive_from(self, server: ForkServer) -> Iterator[Record]:
        try:
            message: Any = server.channel.recv()
        except (EOFError, OSError):
            yield from self._lose_server()
            return
        slot = next((each for each in self._slots if each.number == message.number), None)
        match message:
            case WorkerStarted(_, pid) if slot is not None:
                slot.pid = pid
            case WorkerEnded(number) if slot is None:
                if relay := self._ending.pop(number, None):
                    relay.close()
            case WorkerEnded(_, code, out_of_memory) if slot is not None:
                while slot.pipe is not None and slot.pipe.poll():
                    yield from self._receive(slot)
                self._part(slot)
                if slot.cells:
                    yield from self._reap(slot, slot.reason or cause_of_death(code, out_of_memory))

    def _reap(self, slot: WorkerSlot, cause: str) -> list[Record]:
        """Return the failed records of cells whose worker has ended; return others to the queue.

        If several cells had started, each runs again alone, to find the one that ends its worker.
        """
        cells, started = slot.release()
        if self._stops_at is not None:
            return []  # it did not end by itself
        if started and len(cells) == 1:
            return [self._failed(cells[0], slot, slot.verdict or WorkerDied(f"the worker {cause}"))]
        if started:
            self._suspects.extendleft(reversed(cells))
            return []
        self._requeue(cells)
        if slot.origin != FIRST_PARTY_ORIGIN:
            return self._give_up(slot, cause)
        slot.failed_starts += 1
        if slot.failed_starts >= _STARTS:
            self._slots.remove(slot)
        if not self._slots:
            raise ExecutorError(f"no worker can start: the last one {cause} before it began a cell")
        return []

    def _give_up(self, slot: WorkerSlot, cause: str) -> list[Record]:
        """Count a failed start; return failed records of all cells of a plugin that ends its workers."""
        self._failed_starts[slot.origin] += 1
        if slot.verdict is None and self._failed_starts[slot.origin] < _STARTS:
            return []
        error = slot.verdict or WorkerDied(f"the worker {cause} before it began a cell")
        waiting = self._queues.pop(slot.origin, deque())
        return [self._failed(cell, slot, error) for cell in waiting if self.claims.take(cell)]

    def _failed(self, cell: Cell, slot: WorkerSlot, error: HandledError) -> Record:
        made = provenance_of(
            torch.device(slot.device), self._resources.threads, plugins_of(cell, self._plugins)
        )
        return failed_record(cell, error, made.model_copy(update={"served": slot.origin.providers}))

    def _lose_server(self) -> list[Record]:
        """Start anew after the fork server has ended with all its workers, which only a plugin can do.

        Cells that had started run again while no others do, and fail if it happens again.
        """
        if self._server is not None:
            self._server.close()
            self._server = None
        records = []
        for slot in self._slots:
            if slot.pid is not None:
                end_session(slot.pid)
            self._part(slot)
            cells, started = slot.release()
            for cell in cells if started else ():
                self._lost_servers[key_of(cell)] += 1
                if self._lost_servers[key_of(cell)] < _STARTS:
                    self._alone.append(cell)
                else:
                    error = WorkerDied("the parent process of all workers ended with the worker, twice")
                    records.append(self._failed(cell, slot, error))
            if not started:
                self._requeue(cells)
        self._lost_servers["in a row"] += 1
        if self._lost_servers["in a row"] > _LOST_SERVERS:
            raise ExecutorError("no worker can start: the process that starts them keeps ending")
        return records

    def _part(self, slot: WorkerSlot, *, seconds: float = GRACE) -> None:
        """Let the worker of a slot end, within some seconds."""
        number, relay = slot.forget()
        if number is not None and self._server is not None:
            self._server.end(number, seconds)
        if number is not None and relay is not None:
            self._ending[number] = relay

    def _wait_for_the_ending(self, server: ForkServer, deadline: float) -> None:
        while self._ending and server.channel.poll(max(0.0, deadline - time.monotonic())):
            try:
                message = server.channel.recv()
            except (EOFError, OSError):
                return
            if isinstance(message, WorkerEnded) and (relay := self._ending.pop(message.number, None)):
                relay.close()


_LOST_SERVERS = 5


def _room(resources: Resources, devices: list[str]) -> int:
    """Return the number of workers that the machine has room for."""
    return max(1, usable_cores() // resources.threads) if devices == ["cpu"] else len(devices)
