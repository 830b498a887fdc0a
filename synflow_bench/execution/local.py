"""The local executor: cells run on this machine, in long-lived worker processes."""

from __future__ import annotations

import pickle
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from multiprocessing.connection import wait
from typing import ClassVar

import torch

from synflow_bench.errors import HandledError, UsageError
from synflow_bench.execution.claims import CellClaims
from synflow_bench.execution.ending import EndingWorkers
from synflow_bench.execution.executor import ExecutorError, Resources
from synflow_bench.execution.forkserver import (
    GRACE,
    ForkServer,
    ForkServerError,
    Ping,
    ServerMessage,
    WorkerEnded,
    WorkerStarted,
    end_session,
)
from synflow_bench.execution.gpus import CELLS_PER_GPU, GpuSharing, MemoryUsed
from synflow_bench.execution.origin import FIRST_PARTY_ORIGIN, Origin, origin_of
from synflow_bench.execution.slot import WorkerDied, WorkerSlot, cause_of_death
from synflow_bench.execution.worker import (
    CellsDeclined,
    CellsInterrupted,
    CellsStarted,
    EpochFinished,
    Message,
)
from synflow_bench.host import Host
from synflow_bench.limits import can_measure_memory
from synflow_bench.protocols import OnCellEpoch, failed_record, plugins_of, provenance_of
from synflow_bench.records import Record, key_of
from synflow_bench.suites import Cell
from synflow_bench.training import resolve_devices

_STARTS = 2
"""The times in a row that a worker may fail to start; then its slot is given up, or the cells of a plugin."""

_TRIES = 2
"""The times that a cell is run which may have harmed other cells; from the second time on, no others run."""

_SERVERS = 5
"""The fork servers in a row that may end before a cell has started, or is found to end them."""

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
        turns = islice(cycle(devices), resources.workers or resources.room(devices))
        self._slots = [WorkerSlot(resources, device) for device in turns]
        self._resources = resources
        self._on_epoch = on_epoch
        self._host: Host | None = None
        self._origins: dict[tuple[str, str, str], Origin] = {}
        self._queues: dict[Origin, deque[Cell]] = {}
        self._suspects: deque[Cell] = deque()
        self._alone: deque[Cell] = deque()
        self._records: deque[Record] = deque()
        self._failed_starts = Counter[Origin]()
        self._unbatchable: set[str] = set()
        self._without_memory: set[str] = set()
        self._tries = Counter[str]()
        self._lone: WorkerSlot | None = None
        self._server: ForkServer | None = None
        self._lost_servers = 0
        self._fault: str | None = None
        self._ending = EndingWorkers()
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
            if self._fault is not None:
                raise ExecutorError(self._fault)
            if not (self._has_waiting or any(slot.cells for slot in self._slots)):
                return
            self._wait()
            self._start_cells()
            yield from self._take_records()

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
        while not (messages := list(slot.receive())) and slot.is_live:
            pass
        if not any(isinstance(message, CellsStarted) for message in messages):
            raise ExecutorError(f"a worker process {slot.reason or 'ended before it began a cell'}")
        return time.perf_counter() - before

    def stop(self, seconds: float) -> Iterator[Record]:
        """Let running cells write their checkpoints, and yield the records of those that finish instead."""
        self._clear_queues()
        yield from self._take_records()
        if self._server is None or self._resources.checkpoints is None:
            return
        self._stops_at = time.monotonic() + seconds
        for slot in self._slots:
            if slot.cells and slot.number is not None:
                self._server.end(slot.number, seconds)
        while any(slot.cells for slot in self._slots) and time.monotonic() < self._stops_at:
            self._wait()
            yield from self._take_records()

    def close(self) -> None:
        """Stop all workers, whatever they are doing."""
        self._clear_queues()
        for slot in self._slots:
            self._part(slot, seconds=0.0 if slot.cells else GRACE)
            slot.release()
        if self._server is not None:
            self._ending.wait(self._server, GRACE)
            self._server.close()
            self._server = None
        self._ending.close()

    def _take_records(self) -> Iterator[Record]:
        while self._records:
            yield self._records.popleft()

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
        if self._alone and not any(slot.cells for slot in self._slots):
            self._start_alone()
        if self._alone or (self._lone is not None and self._lone.cells):
            return
        for slot in self._slots:
            if not slot.cells and self._fault is None and (cells := self._next_batch(slot)):
                self._start(slot, cells)

    def _start_alone(self) -> None:
        """Start a cell that runs alone, once all workers have ended, and what they have started."""
        for slot in self._slots:
            self._part(slot, seconds=0.0)
        if self._server is not None:
            self._ending.end_now(self._server)
        while self._alone and not self._ending and self._fault is None:
            cell = self._alone.popleft()
            if self.claims.take(cell):
                self._lone = self._slots[0]
                self._start(self._lone, [cell])
                return

    def _start(self, slot: WorkerSlot, cells: list[Cell]) -> None:
        origin = self._origin(cells[0])
        if slot.number is not None and (slot.origin != origin or not slot.is_live):
            self._part(slot)
        try:
            if self._server is None:
                self._server = ForkServer(self._resources.threads)
            slot.start(cells, origin, self._server)
        except ForkServerError as error:
            self._fault = str(error)
        except OSError:  # the next look at the fork server finds the reason
            self._requeue(slot.release()[0])

    @property
    def _has_waiting(self) -> bool:
        return bool(self._alone or self._suspects or any(self._queues.values()))

    def _next_batch(self, slot: WorkerSlot) -> list[Cell]:
        """Remove cells of one setting and origin from the queue, at most an equal share for each worker."""
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
            if self._tries[key_of(cell)] or key_of(cell) in self._without_memory:
                self._alone.appendleft(cell)
                continue
            self._queues.setdefault(self._origin(cell), deque()).appendleft(cell)

    def _give_back(self, cells: Sequence[Cell]) -> None:
        """Return cells to the queue from which other runs may take them too."""
        self._requeue(cells)
        for cell in cells:
            self.claims.give_back(cell)

    # Events of workers

    def _wait(self) -> None:
        """Wait until something happens, and do what has to be done then."""
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
            self._pause(server),
        )
        for relay in relays:
            if relay.descriptor in ready:
                relay.pump()
        for slot in list(self._slots):
            if slot.pipe is not None and slot.pipe in ready:
                self._receive(slot)
        self._receive_from(server)
        now = time.monotonic()
        for slot in self._slots:
            if slot.exceeds(now) and slot.number is not None:
                server.end(slot.number)

    def _pause(self, server: ForkServer) -> float:
        """Return the seconds until a limit has to be checked."""
        times = [server.next_look]
        times += [each for slot in self._slots if (each := slot.next_check) is not None]
        times += [] if self._stops_at is None else [self._stops_at]
        times += [
            slot.relay.not_before
            for slot in self._slots
            if slot.relay is not None and slot.relay.not_before and not slot.relay.has_ended
        ]
        pause = max(0.0, min(times) - time.monotonic())
        return pause if self._resources.limits.memory is None else min(pause, _MEMORY_INTERVAL)

    def _receive(self, slot: WorkerSlot) -> None:
        """Read once from the pipe of a worker."""
        number = slot.number
        for message in slot.receive():
            if slot.number == number:  # it has not parted with the worker
                self._handle(message, slot)
        if slot.pipe is None and slot.number is not None and self._server is not None:
            self._server.end(slot.number)  # if it lives, it can do nothing any more

    def _receive_rest(self, slot: WorkerSlot) -> None:
        """Read everything from the pipe of a worker that has ended."""
        while slot.pipe is not None and slot.pipe.poll():
            self._receive(slot)

    def _handle(self, message: Message, slot: WorkerSlot) -> None:
        match message:
            case CellsStarted():
                self._lost_servers = 0
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
                if self._stops_at is None:  # the run has not asked for it
                    self._try_alone(cells, slot, WorkerDied("a signal interrupted the worker, twice"))
                else:
                    self._give_back(cells)
            case Record() as record if slot.finish(record.key):
                self._failed_starts.pop(slot.origin, None)
                if not slot.cells and slot.is_spent:
                    self._part(slot)
                if self._may_find_memory(record, slot):
                    self._alone.append(record.cell)
                else:
                    self._records.append(record)

    def _may_find_memory(self, record: Record, slot: WorkerSlot) -> bool:
        """Return True, once per cell, if it found no memory on a device that others used meanwhile."""
        if record.error is None or record.error.kind != torch.OutOfMemoryError.__name__:
            return False
        first = record.key not in self._without_memory
        self._without_memory.add(record.key)
        return first and len(self._beside(slot)) > 1

    def _receive_from(self, server: ForkServer) -> None:
        """Read what the fork server has sent, and part with it if it is lost."""
        while True:
            try:
                message = server.receive() if server.channel.poll() else None
            except (EOFError, OSError):
                self._lose(server)
                return
            if message is None:
                break
            self._handle_from(message)
        if server.is_lost(time.monotonic()):
            self._lose(server)

    def _handle_from(self, message: ServerMessage) -> None:
        if isinstance(message, Ping):
            return
        slot = next((each for each in self._slots if each.number == message.number), None)
        match message:
            case WorkerStarted(_, pid) if slot is not None:
                slot.set_pid(pid)
            case WorkerEnded(number) if slot is None:
                self._ending.remove(number)
            case WorkerEnded(_, code, out_of_memory) if slot is not None:
                self._receive_rest(slot)
                self._part(slot)
                if slot.cells:
                    self._reap(slot, slot.reason or cause_of_death(code, out_of_memory))

    def _reap(self, slot: WorkerSlot, cause: str) -> None:
        """Record the cell whose worker has ended; return others to the queue.

        If several cells had started, each runs again alone, to find the one that ends its worker.
        """
        cells, started = slot.release()
        if self._stops_at is not None:
            return  # it did not end by itself
        if not started:
            self._count_failed_start(cells, slot, f"{cause} before it began a cell")
        elif len(cells) > 1:
            self._suspects.extendleft(reversed(cells))
        else:
            self._fail(cells, slot, slot.verdict or WorkerDied(f"the worker {cause}"))

    def _count_failed_start(self, cells: Sequence[Cell], slot: WorkerSlot, cause: str) -> None:
        """Return cells to the queue, but give up third parties, or a slot, that has no worker again."""
        if slot.origin != FIRST_PARTY_ORIGIN:
            self._failed_starts[slot.origin] += 1
            if self._failed_starts[slot.origin] >= _STARTS:
                cells = [*cells, *self._queues.pop(slot.origin, ())]
                self._fail(cells, slot, slot.verdict or WorkerDied(f"the worker {cause}"))
                return
        else:
            slot.failed_starts += 1
            if slot.failed_starts >= _STARTS:
                self._slots.remove(slot)
            if not self._slots:
                self._fault = f"no worker can start: the last one {cause}"
        self._requeue(cells)

    def _try_alone(self, cells: Sequence[Cell], slot: WorkerSlot, error: HandledError) -> list[Cell]:
        """Let cells run once more, while no others do; record and return those that have done so."""
        for cell in cells:
            self._tries[key_of(cell)] += 1
        failed = [cell for cell in cells if self._tries[key_of(cell)] >= _TRIES]
        self._alone.extend(cell for cell in cells if cell not in failed)
        self._fail(failed, slot, error)
        return failed

    def _fail(self, cells: Sequence[Cell], slot: WorkerSlot, error: HandledError) -> None:
        self._records.extend(self._failed(cell, slot, error) for cell in cells if self.claims.take(cell))

    def _failed(self, cell: Cell, slot: WorkerSlot, error: HandledError) -> Record:
        made = provenance_of(
            torch.device(slot.device), self._resources.threads, plugins_of(cell, self._plugins)
        )
        # The algorithms of this process are not those of the worker.
        update = {"served": slot.origin.providers, "algorithms": {}}
        return failed_record(cell, error, made.model_copy(update=update))

    def _lose(self, server: ForkServer) -> None:
        """Part with a fork server that has ended, or does not answer: another one starts with the next cells.

        Only a plugin or another program can do that. Running cells run again while no others do, and fail if
        it happens again.
        """
        self._server = None
        server.close(0.0)
        self._ending.close()
        self._lost_servers += 1
        for slot in list(self._slots):
            self._receive_rest(slot)
            if slot.pid is not None:
                end_session(slot.pid)
            self._part(slot)
            cells, started = slot.release()
            if not cells or self._stops_at is not None:
                continue
            if not server.has_answered or (not started and slot.origin == FIRST_PARTY_ORIGIN):
                self._requeue(cells)  # they are not to blame
            elif slot.verdict is not None and started and len(cells) == 1:
                self._fail(cells, slot, slot.verdict)
            else:
                self._try_after_loss(cells, slot)
        if self._lost_servers >= _SERVERS:
            self._fault = "no worker can start: the process that starts them keeps ending"

    def _try_after_loss(self, cells: Sequence[Cell], slot: WorkerSlot) -> None:
        """Let cells that were lost with the fork server run alone; if they have, others of their row too."""
        error = WorkerDied("the parent process of all workers ended, or was stopped, with the worker, twice")
        if not self._try_alone(cells, slot, error):
            return
        self._lost_servers = 0
        waiting = self._queues.pop(slot.origin, ()) if slot.origin != FIRST_PARTY_ORIGIN else ()
        if slot.started:
            self._tries.update({key_of(cell): _TRIES - 1 for cell in waiting})
            self._alone.extend(waiting)
        else:
            self._fail(waiting, slot, error)

    def _part(self, slot: WorkerSlot, *, seconds: float = GRACE) -> None:
        """Let the worker of a slot end, within some seconds."""
        number, relay = slot.forget()
        if number is None or relay is None:
            return
        if self._server is None:
            relay.close()
            return
        self._ending.add(number, relay, self._server, seconds)
