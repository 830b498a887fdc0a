"""A slot of the local executor: a device, with one worker process after another."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection

from synflow_bench.errors import HandledError
from synflow_bench.execution.executor import Resources
from synflow_bench.execution.forkserver import ForkServer
from synflow_bench.execution.inbox import Inbox
from synflow_bench.execution.origin import FIRST_PARTY_ORIGIN, Origin
from synflow_bench.execution.relay import OutputRelay
from synflow_bench.execution.worker import CannotStart, CellsStarted, Message, WorkerSetup
from synflow_bench.limits import Looks, family_memory, format_bytes, is_stopped, memory_of
from synflow_bench.records import key_of
from synflow_bench.suites import Cell

GROWTH = 1 << 30
"""The bytes by which the memory of a worker may grow after its first cells, before a new one replaces it."""

STOPPED_INTERVAL = 15.0
"""The seconds between two looks at a worker for whether it is stopped."""

STOPPED_LOOKS = 5
"""The looks in a row at which a worker was stopped, after which it is killed."""

START_SECONDS = 60.0
"""The seconds in which a worker has to be set up if cells have a limit of time; or that limit, if longer."""


class WorkerDied(HandledError):  # noqa: N818  records name this kind
    """A worker process ended while it ran a cell."""


class CellTimeout(HandledError):  # noqa: N818  as above
    """A cell took longer than the limit, and its worker was killed."""


class WorkerStopped(HandledError):  # noqa: N818  as above
    """A worker was stopped by a signal, was not continued, and was killed."""


class MemoryLimitExceeded(HandledError):  # noqa: N818  as above
    """A worker used more memory than the limit, and was killed."""


class WorkerSlot:
    """A worker process that is started at first use, and replaced after a death or for other code.

    Attributes:
        device: The device of its workers.
        cells: The cells that the worker has to run in one batch, by key.
        origin: The third-party code that the worker may load.
        started: True if it has started the cells.
        failed_starts: The number of workers in a row that ended before they had started a cell.
        number: The worker, for the fork server; None without one.
        pid: The process of the worker, once it is known.
        pipe: The connection to the worker; None if there is no worker, or it has closed its end.
        relay: The output of the worker.
        verdict: The reason why the run has killed the worker, if it has.
    """

    def __init__(self, resources: Resources, device: str) -> None:
        self.device = device
        self.cells: dict[str, Cell] = {}
        self.origin = FIRST_PARTY_ORIGIN
        self.started = False
        self.failed_starts = 0
        self.number: int | None = None
        self.pid: int | None = None
        self.pipe: Connection | None = None
        self.relay: OutputRelay | None = None
        self.verdict: HandledError | None = None
        self.reason = ""
        self._resources = resources
        self._limits = resources.limits
        self._deadline: float | None = None
        self._served = self._first_memory = self._unfinished = 0
        self._new_looks()

    @property
    def is_live(self) -> bool:
        """True if there is a worker that can receive cells."""
        return self.number is not None and self.pipe is not None

    def start(self, cells: Sequence[Cell], origin: Origin, server: ForkServer) -> None:
        """Send cells of one setting and origin to the worker, which is started if there is none.

        Raises:
            ForkServerError: The system cannot start another process.
            OSError: The fork server has ended.
        """
        self.cells, self.started, self.origin = {key_of(cell): cell for cell in cells}, False, origin
        self.verdict, self.reason = None, ""
        if not self.is_live:
            resources = replace(self._resources, plugins=origin.files)
            setup = WorkerSetup(resources, self.device, origin.distributions)
            self.number, self.pipe, output = server.start(setup)
            self.relay, self._inbox = OutputRelay(output, origin.title), Inbox(self.pipe)
            self.pid, self._served, self._first_memory, self._unfinished = None, 0, 0, 0
            self._new_looks()
        self._count_down()
        if self.pipe is not None:
            with suppress(OSError):  # it has just died, as the server will report
                self.pipe.send(list(cells))

    def set_pid(self, pid: int) -> None:
        """Set the process of the worker, which has started: from now on it has to be set up."""
        self.pid = pid
        self._count_down()

    def receive(self) -> Iterator[Message]:
        """Yield the messages that have arrived; close `pipe` if there will be no further ones."""
        for message in self._inbox.receive() if self.pipe is not None else ():
            if isinstance(message, CannotStart):
                self.reason = f"could not be set up ({message.reason})"
            elif isinstance(message, CellsStarted) and not self.started:
                self.started, self.failed_starts = True, 0
                self._count_down()
            yield message
        if self.pipe is not None and (self._inbox.is_broken or self._inbox.has_ended):
            self.verdict = self.verdict or (_broken() if self._inbox.is_broken else None)
            self.pipe.close()
            self.pipe = None

    def finish(self, key: str) -> bool:
        """Remove a cell that has a record; return False if the slot has no such cell."""
        if self.cells.pop(key, None) is None:
            return False
        self._served += 1
        if not self.cells and self.relay is not None:
            self.relay.finish_cells()
        return True

    def release(self, *, all_but_first: bool = False) -> tuple[list[Cell], bool]:
        """Remove all cells, or all but the first; return them, and True if they had started."""
        kept = dict([*self.cells.items()][: int(all_but_first)])
        released = [cell for key, cell in self.cells.items() if key not in kept]
        self.cells = kept
        self._count_down()
        return released, self.started

    def forget(self) -> tuple[int | None, OutputRelay | None]:
        """Part with the worker, which ends by itself if it is idle; return its number and its output."""
        parted = self.number, self.relay
        if self.pipe is not None:
            self.pipe.close()
        self.number = self.pid = self.pipe = self.relay = None
        return parted

    @property
    def next_check(self) -> float | None:
        """The time, on the monotonic clock, at which `exceeds` has something to do."""
        if not self.cells or self.verdict is not None:
            return None
        return self._looks.next if self._deadline is None else min(self._looks.next, self._deadline)

    def exceeds(self, now: float) -> bool:
        """Return True if the worker is to be killed; `verdict` has the reason."""
        if self.number is None or not self.cells or self.verdict is not None:
            return False
        limit, memory = self._limits.cell_timeout, self._limits.memory
        if limit is not None and self._deadline is not None and now >= self._deadline:
            self.verdict = CellTimeout(
                f"the cell took longer than the limit of {limit:g} s"
                if self.started
                else f"the worker was not set up within {max(limit, START_SECONDS):g} s"
            )
        elif memory is not None and self.pid is not None:
            used = family_memory(self.pid, most=memory)
            if used > memory:
                self.verdict = MemoryLimitExceeded(
                    f"the worker used {format_bytes(used)}, more than the limit of {format_bytes(memory)}"
                )
        if self.verdict is None and self._looks.are_enough(now, self._is_stuck):
            self.verdict = (
                WorkerStopped("the worker was stopped by a signal, and nothing continued it")
                if self._is_stopped
                else _broken()
            )
        return self.verdict is not None

    def _new_looks(self) -> None:
        self._looks = Looks(STOPPED_INTERVAL, STOPPED_LOOKS)

    def _is_stuck(self) -> bool:
        """Return True if the worker is stopped, or has not gone on with a message since the last look."""
        before, self._unfinished = self._unfinished, self._inbox.unfinished
        return self._is_stopped or 0 < before == self._unfinished

    @property
    def _is_stopped(self) -> bool:
        return self.pid is not None and is_stopped(self.pid)

    @property
    def is_spent(self) -> bool:
        """True if another worker should run the next cells: it has run enough, or its memory has grown."""
        if self._limits.recycle_after and self._served >= self._limits.recycle_after:
            return True
        if self.pid is None:
            return False
        used = memory_of(self.pid)
        if not self._first_memory:
            self._first_memory = used
        return used > self._first_memory + GROWTH

    def _count_down(self) -> None:
        """Set the time that the worker has for its cells, or else for its start, if there is a limit."""
        limit = self._limits.cell_timeout
        if limit is None or (self.pid is None and not self.started):  # the fork server has limits of its own
            self._deadline = None
        else:
            seconds = limit * len(self.cells) if self.started else max(limit, START_SECONDS)
            self._deadline = time.monotonic() + seconds


def _broken() -> WorkerDied:
    return WorkerDied("the worker sent bytes that are not a message: a plugin writes to files of the worker")


def cause_of_death(code: int, out_of_memory: bool | None) -> str:
    """Say how a process ended, as the end of a sentence.

    Example:
        >>> cause_of_death(-9, True), cause_of_death(3, None)
        ('was killed by the kernel, which had no memory left', 'ended with exit code 3')
    """
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if name != "SIGKILL":
        return f"was killed by {name}"
    if out_of_memory:
        return "was killed by the kernel, which had no memory left"
    return "was killed by SIGKILL (out of memory?)" if out_of_memory is None else "was killed by SIGKILL"
