"""The runs of a results folder: each has a file in `<results>/runs`, which it renews as long as it lives.

The file says which machine and process computes which cells, and how far they are. `synflow-bench status`
shows it, and other runs read from it whether the claims of its run still hold.
"""

from __future__ import annotations

import os
import platform
import re
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from synflow_bench.errors import RecordError
from synflow_bench.files import is_clutter, open_regular, unfinished, write_atomically

RENEWAL = 30.0
"""The seconds after which a run renews its file, even if nothing has changed."""

LEASE = 300.0
"""The seconds without a sign of a run on another machine, after which its claims may be taken over."""

INTERVAL = 1.0
"""The least seconds between two versions of a file."""

WATCHED = 5.0
"""The seconds for which the file of a run must have been seen unchanged: a machine may just have woken up."""

_LARGEST = 2**20
"""The most bytes of a file that are read."""


_Number = Annotated[int, Field(ge=0, le=2**63 - 1)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Seconds = Annotated[float, Field(ge=0, le=1e12)]


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{moment} has no time in UTC") from None


_Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]


class CellProgress(BaseModel):
    """A cell that a worker has started.

    Attributes:
        key: The key of its record.
        title: The cell in a few words.
        epoch: The epochs of its present training that are done.
        epochs: The epochs of a training.
        test_top1: The share of test examples that were right after this epoch, if one is done.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    title: str
    epoch: _Number = 0
    epochs: _Number
    test_top1: _Share | None = None


class RunState(BaseModel):
    """The content of the file of a run.

    Attributes:
        run: The name of the run, which is also the name of its file.
        host: The name of the machine.
        machine: An identity of the machine and its processes: two runs with the same one see each other's.
        pid: The process.
        process_started: The start of the process by the kernel's clock, which tells it from a later one of
            the same number; None where the system does not say it.
        started: The time at which the run started, in UTC.
        updated: The time of this state, in UTC.
        workers: The number of workers.
        cells: The number of cells that were missing at the start.
        done: The number of those that have a record now.
        failed: The number of those whose record is a failed or skipped one.
        elsewhere: The number of those that other runs have recorded.
        seconds_left: The estimated time left.
        running: The running cells.
    """

    run: str
    host: str
    machine: str
    pid: _Number
    process_started: _Number | None = None
    started: _Moment
    updated: _Moment
    workers: _Number = 1
    cells: _Number = 0
    done: _Number = 0
    failed: _Number = 0
    elsewhere: _Number = 0
    seconds_left: _Seconds | None = None
    running: tuple[CellProgress, ...] = ()

    @property
    def title(self) -> str:
        """The run in a few words: `node7, process 4711, since 2026-01-31 12:00 UTC`."""
        return f"{self.host}, process {self.pid}, since {self.started:%Y-%m-%d %H:%M} UTC"

    @property
    def is_on_this_machine(self) -> bool:
        """True if the process of the run can be seen from here."""
        return self.machine == machine_identity()

    @property
    def process_is_alive(self) -> bool:
        """True if the process of the run, which is on this machine, has not ended."""
        return process_exists(self.pid) and (
            self.process_started is None or process_start(self.pid) == self.process_started
        )

    @property
    def cells_per_hour(self) -> float | None:
        """The number of cells that the run has recorded per hour; None at its start."""
        own, seconds = self.done - self.elsewhere, (self.updated - self.started).total_seconds()
        return own * 3600 / seconds if own > 0 and seconds > 0 else None


def read_run(path: Path) -> RunState | None:
    """Return the content of the file of a run; None if there is no valid one."""
    with suppress(RecordError):
        return _read_run(path)
    return None


def _read_run(path: Path) -> RunState | None:
    """Return the content of the file of a run; None if there is none.

    Raises:
        RecordError: It is not the file of a run of this name.
    """
    try:
        with open_regular(path) as file:
            state = RunState.model_validate_json(file.read(_LARGEST))
        if state.run != path.stem:
            raise RecordError(f"{str(path)!r} is the file of another run; delete it")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RecordError(f"cannot read {str(path)!r}: {error.strerror or error}; delete it") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        what = f"{where}: {first['msg']}" if where else first["msg"]
        raise RecordError(f"{str(path)!r} is not the file of a run ({what[:200]}); delete it") from error
    return state


class Runs:
    """All runs of a results folder, as files that their processes renew.

    Args:
        root: The results folder.
        watched: The seconds for which a file must have been seen to stand still.
    """

    def __init__(self, root: Path, watched: float = WATCHED) -> None:
        self.folder = root / "runs"
        self._watched = watched
        self._seen: dict[str, tuple[float, float]] = {}

    def path(self, run: str) -> Path:
        """Return the file of a run."""
        return self.folder / f"{run}.json"

    def states(self, unreadable: list[str] | None = None) -> list[RunState]:
        """Return the states of all runs that have a file, alive or not, the oldest first.

        Args:
            unreadable: Receives one line for each other file, and for the folder if it cannot be read.
        """
        found, unreadable = [], [] if unreadable is None else unreadable
        try:
            names = sorted(os.listdir(self.folder))  # noqa: PTH208  `glob` hides errors
        except FileNotFoundError:
            return []
        except OSError as error:
            unreadable.append(f"cannot read {str(self.folder)!r}: {error.strerror or error}")
            return []
        for name in names:
            if name.endswith(".json") and not is_clutter(name):
                try:
                    found.append(_read_run(self.folder / name))
                except RecordError as error:
                    unreadable.append(str(error))
        return sorted(filter(None, found), key=lambda state: (state.started, state.run))

    def remove_ended(self) -> None:
        """Remove the files that runs have left which have ended, where the folder can be written."""
        with suppress(OSError):
            for state in self.states():
                if not self.is_alive(state.run):
                    for temporary, _ in unfinished(self.folder, state.run):
                        temporary.unlink(missing_ok=True)
                    self.path(state.run).unlink(missing_ok=True)
            for temporary, writer in unfinished(self.folder, f"{_host_name()}-*"):
                if not process_exists(writer):  # killed at its first write
                    temporary.unlink(missing_ok=True)

    def is_alive(self, run: str, now: float | None = None, *, otherwise: Path | None = None) -> bool:
        """Return False if the process of a run has ended, or has given no sign for `LEASE` seconds.

        A process on this machine is looked up. For one on another machine only the time counts at which its
        file was renewed, by the clock of the file system. It must have been seen to stand still
        for `watched` seconds, because a machine that has just woken up renews its file within a second.

        Args:
            run: The name of the run.
            now: The time by the clock of the file system, as `file_system_time` tells it.
            otherwise: A file whose time counts if the run has no file any more.
        """
        path = self.path(run)
        state = read_run(path)
        if state and state.is_on_this_machine and not state.process_is_alive:
            return False
        try:
            renewed = _modified(path)
        except OSError:
            try:
                renewed = _modified(otherwise) if otherwise else 0.0
            except OSError:
                return False
        now = file_system_time(self.folder) if now is None else now
        if now - renewed <= LEASE:
            return True
        moment, (before, since) = time.monotonic(), self._seen.get(run, (None, 0.0))
        if before != renewed:
            self._seen[run], since = (renewed, moment), moment
        return moment - since < self._watched


class RunFile:
    """The file of the present run; a thread renews it while the run is open.

    Args:
        root: The results folder.
    """

    def __init__(self, root: Path) -> None:
        self.runs = Runs(root)
        pid, now = os.getpid(), _utc()
        self.state = RunState(
            run=f"{_host_name()}-{pid}-{uuid.uuid4().hex[:8]}",
            host=platform.node() or "unnamed",
            machine=machine_identity(),
            pid=pid,
            process_started=process_start(pid),
            started=now,
            updated=now,
        )
        self.opened = 0.0
        self._describe: Callable[[RunState], RunState] = lambda state: state
        self._closed = threading.Event()

    @property
    def name(self) -> str:
        """The name of this run."""
        return self.state.run

    @property
    def path(self) -> Path:
        """The file."""
        return self.runs.path(self.name)

    @contextmanager
    def open(self) -> Iterator[RunFile]:
        """Keep the file while the block runs; `opened` is the time of its first version.

        Raises:
            RecordError: The file cannot be written.
        """
        self._write()
        self.opened = _modified(self.path)
        thread = threading.Thread(target=self._renew, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._closed.set()
            thread.join()
            with suppress(OSError):
                self.path.unlink()

    def show(self, describe: Callable[[RunState], RunState]) -> None:
        """Let `describe(state)` be the next version of the file; the thread that renews it calls it."""
        self._describe = describe

    def now(self) -> float:
        """Renew the file and return the time by the clock of the file system."""
        try:
            os.utime(self.path)
            return _modified(self.path)
        except OSError:
            return time.time()

    def _renew(self) -> None:
        last = time.monotonic()
        while not self._closed.wait(INTERVAL):
            due = time.monotonic() - last >= RENEWAL
            if due or self._describe(self.state) != self.state or not self.path.exists():
                with suppress(RecordError):  # the records will say that the folder cannot be written
                    self._write()
                last = time.monotonic()

    def _write(self) -> None:
        self.state = self._describe(self.state).model_copy(update={"updated": _utc()})
        write_atomically(self.path, self.state.model_dump_json(indent=1) + "\n")


@cache
def machine_identity() -> str:
    """Return a text that is the same for two processes exactly if they can see each other by their numbers.

    Machines may have the same name, and containers on one machine have processes of their own.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return f"{platform.node()}/{uuid.getnode():x}"


def _host_name() -> str:
    """Return the name of this machine as names of runs have it."""
    return re.sub(r"[^A-Za-z0-9.-]", "-", platform.node()).strip(".-")[:40] or "unnamed"


def process_exists(pid: int) -> bool:
    """Return True if a process of this machine has the number `pid`."""
    if pid <= 0:
        return False  # to a system call it would mean a group of processes
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # of another user
        return True
    return True


def process_start(pid: int) -> int | None:
    """Return the start of a process in ticks since the boot; None if it has ended, or there is no `/proc`."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name of the program, in parentheses, may have spaces
    state, start = fields[0], fields[19]
    return None if state in "ZX" else int(start)


def file_system_time(folder: Path) -> float:
    """Return the time by the clock of the file system of `folder`; this machine's if it is read-only."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return time.time()


def clock(seconds: float) -> str:
    """Format seconds as minutes and seconds, or with hours.

    Example:
        >>> clock(7), clock(754), clock(3723)
        ('0:07', '12:34', '1:02:03')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _modified(path: Path) -> float:
    return path.stat().st_mtime


def _utc() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
