"""A process that has imported what workers need, and forks them from there.

It computes nothing and loads no plugin of third parties, so that every worker starts from the same state. It
is the parent of all workers: it kills them with all processes that they have started, and reports how they
ended. When the process of the run ends, in whatever way, it kills them too.

Where forking is not safe (macOS), every worker is a new process.
"""

from __future__ import annotations

import ctypes
import fcntl
import multiprocessing
import os
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import reduction
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.process import BaseProcess

from synflow_bench.errors import HandledError, one_line
from synflow_bench.execution.worker import WorkerSetup, work
from synflow_bench.limits import Looks, out_of_memory_kills, processes
from synflow_bench.process import call_in_environment
from synflow_bench.training import main_module_hidden, thread_environment

FORKS = sys.platform == "linux"
"""True where workers are forked."""

GRACE = 5.0
"""Seconds in which an idle worker may end its data workers."""

ANSWER_INTERVAL = 15.0
"""The seconds between two pings, which the server answers."""

ANSWER_LOOKS = 5
"""The looks in a row at which no answer was there, after which the server is taken for dead."""

START_LOOKS = 20
"""The same before its first answer: it imports torch, perhaps from a slow disk."""

_CONTEXT = multiprocessing.get_context("spawn")
_SUBREAPER, _DEATH_SIGNAL = 36, 1
"""Options of `prctl` in Linux."""
_SWEEPS = 50
_SEND_SECONDS = 120
"""The seconds for which a message to the server may wait until there is room for it."""
_PIPE = 1 << 20
"""The bytes of output that a worker may write ahead."""


class ForkServerError(HandledError):
    """Worker processes cannot be started."""


@dataclass(frozen=True)
class StartWorker:
    """A worker is wanted; its pipe and the pipe of its output follow."""

    number: int
    setup: WorkerSetup


@dataclass(frozen=True)
class EndWorker:
    """A worker is asked to end, and killed if it has not after so many seconds; with 0 it is not asked."""

    number: int
    seconds: float


@dataclass(frozen=True)
class Ping:
    """The server is asked to answer with the same."""


@dataclass(frozen=True)
class WorkerStarted:
    """A worker has started as process `pid`."""

    number: int
    pid: int


@dataclass(frozen=True)
class WorkerEnded:
    """A worker and its children have ended.

    Attributes:
        number: The worker.
        exit_code: Its exit code, or a signal as a negative number.
        out_of_memory: True if the kernel has killed a process for memory meanwhile; None if it does not tell.
    """

    number: int
    exit_code: int
    out_of_memory: bool | None


ServerMessage = Ping | WorkerStarted | WorkerEnded


class ForkServer:
    """The process that forks workers, seen from the process of the run.

    Attributes:
        channel: The connection on which messages arrive.
        has_answered: True once a message has arrived.

    Args:
        threads: The number of threads of each worker.

    Raises:
        ForkServerError: The system cannot start another process.
    """

    def __init__(self, threads: int) -> None:
        self._numbers = iter(range(1, 1 << 62))
        try:
            self.channel, remote = _CONTEXT.Pipe()
            _limit_sends(self.channel)
            place = thread_environment(threads), serve.__module__, serve.__name__
            with remote, _signals_ignored(), main_module_hidden():
                process = _CONTEXT.Process(target=call_in_environment, args=(*place, remote), daemon=True)
                process.start()
        except Exception as error:
            raise ForkServerError(f"cannot start a worker process: {one_line(error)}") from error
        self._process: BaseProcess = process
        self.has_answered = self._owes_answer = self._is_cut_off = False
        self._looks = Looks(ANSWER_INTERVAL, START_LOOKS)

    def start(self, setup: WorkerSetup) -> tuple[int, Connection, int]:
        """Start a worker; return its number, its pipe, and the descriptor on which its output can be read.

        Raises:
            ForkServerError: The system has no more file descriptors.
            OSError: The server has ended, or does not read any more.
        """
        number = next(self._numbers)
        try:
            pipe, remote = _CONTEXT.Pipe()
            output, written = os.pipe()
        except OSError as error:
            raise ForkServerError(f"cannot start a worker process: {one_line(error)}") from error
        if FORKS:
            with suppress(OSError):
                fcntl.fcntl(written, fcntl.F_SETPIPE_SZ, _PIPE)
        try:
            self._send(StartWorker(number, setup), remote.fileno(), written)
        except BaseException:
            pipe.close()
            os.close(output)
            raise
        finally:
            remote.close()
            os.close(written)
        os.set_blocking(output, False)
        return number, pipe, output

    def end(self, number: int, seconds: float = 0.0) -> None:
        """Kill a worker, at once or if it has not saved its cells and ended after some seconds."""
        with suppress(OSError):
            self._send(EndWorker(number, seconds))

    def receive(self) -> ServerMessage:
        """Return the next message.

        Raises:
            EOFError: The server has ended.
            OSError: The same.
        """
        message: ServerMessage = self.channel.recv()
        self._owes_answer = False
        if not self.has_answered:
            self.has_answered, self._looks = True, Looks(ANSWER_INTERVAL, ANSWER_LOOKS)
        return message

    def is_lost(self, now: float) -> bool:
        """Return True if the server has not answered for long, or misses a part of a message."""
        return self._looks.are_enough(now, self._ask) or self._is_cut_off

    @property
    def next_look(self) -> float:
        """The time, on the monotonic clock, at which `is_lost` has something to do."""
        return 0.0 if self._is_cut_off else self._looks.next

    def close(self, seconds: float = GRACE) -> None:
        """Kill all workers and end the server, within some seconds; may be called again."""
        self.channel.close()
        self._process.join(seconds)
        self._process.kill()
        self._process.join()

    def _ask(self) -> bool:
        """Ask for an answer; return True if the last one has not come."""
        was_owed, self._owes_answer = self._owes_answer, True
        with suppress(OSError):
            self._send(Ping())
        return was_owed

    def _send(self, message: StartWorker | EndWorker | Ping, *handles: int) -> None:
        try:
            self.channel.send(message)
            for handle in handles:
                reduction.send_handle(self.channel, handle, self._process.pid)
        except OSError:
            self._is_cut_off = True
            raise


def _limit_sends(channel: Connection) -> None:
    """Let a message to a process that does not read fail with `OSError` some time."""
    with socket.socket(fileno=os.dup(channel.fileno())) as duplicate:
        duration = struct.pack("ll", _SEND_SECONDS, 0)
        duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, duration)


@dataclass
class _Worker:
    """A worker, seen from the server; `handle` becomes readable when it ends."""

    number: int
    pid: int
    handle: int
    process: SpawnProcess | None = None
    kills_before: int | None = field(default_factory=out_of_memory_kills)
    deadline: float | None = None

    def wait(self) -> int:
        """Wait for the end of the worker, and return its exit code."""
        if self.process is not None:
            self.process.join()
            return self.process.exitcode or 0
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.handle)
        return code

    def ask_to_end(self, seconds: float) -> None:
        """Let the worker save its cells and end, within some seconds."""
        self.deadline = time.monotonic() + seconds
        with suppress(ProcessLookupError, PermissionError):
            os.kill(self.pid, signal.SIGUSR1)  # ignored until the worker handles it

    def kill(self) -> None:
        """Kill the worker and its process group."""
        end_session(self.pid)
        with suppress(ProcessLookupError, PermissionError):
            os.kill(self.pid, signal.SIGKILL)  # it may not have a session yet


def serve(channel: Connection) -> None:
    """Start and end workers until the other end of `channel` closes."""
    with suppress(OSError):
        os.setsid()  # signals of a terminal reach the run, which decides
    if FORKS:
        _control(_SUBREAPER, 1)
    server = _Server(channel)
    try:
        server.run()
    except (EOFError, OSError):
        pass
    finally:
        server.end_all()
        os._exit(0)  # an orderly exit of torch takes seconds


class _Server:
    def __init__(self, channel: Connection) -> None:
        self._channel = channel
        self._workers: dict[int, _Worker] = {}

    def run(self) -> None:
        while True:
            ready = wait([self._channel, *(each.handle for each in self._workers.values())], self._pause())
            if self._channel in ready:
                self._receive()
            for worker in list(self._workers.values()):
                if worker.handle in ready:
                    self._report(worker)
                elif worker.deadline is not None and time.monotonic() >= worker.deadline:
                    worker.kill()
                    worker.deadline = None

    def end_all(self) -> None:
        for worker in self._workers.values():
            worker.kill()
        self._end_orphans(())

    def _pause(self) -> float | None:
        deadlines = [each.deadline for each in self._workers.values() if each.deadline is not None]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _receive(self) -> None:
        match self._channel.recv():
            case Ping() as ping:
                self._channel.send(ping)
            case StartWorker(number, setup):
                self._start(number, setup)
            case EndWorker(number, seconds) if number in self._workers:
                if seconds:
                    self._workers[number].ask_to_end(seconds)
                else:
                    self._workers[number].kill()

    def _start(self, number: int, setup: WorkerSetup) -> None:
        pipe = Connection(reduction.recv_handle(self._channel))
        output = reduction.recv_handle(self._channel)
        worker = self._fork(number, setup, pipe, output) if FORKS else _spawned(number, setup, pipe, output)
        pipe.close()
        os.close(output)
        self._workers[number] = worker
        self._channel.send(WorkerStarted(number, worker.pid))

    def _fork(self, number: int, setup: WorkerSetup, pipe: Connection, output: int) -> _Worker:
        server = os.getpid()
        pid = os.fork()
        if pid:
            return _Worker(number, pid, os.pidfd_open(pid))
        code = 1
        try:
            _control(_DEATH_SIGNAL, signal.SIGKILL)
            if os.getppid() == server:
                self._channel.close()
                for worker in self._workers.values():
                    os.close(worker.handle)
                work(pipe, setup, output)
                code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def _report(self, worker: _Worker) -> None:
        code = worker.wait()
        del self._workers[worker.number]
        end_session(worker.pid)
        self._end_orphans({each.pid for each in self._workers.values()})
        before, after = worker.kills_before, out_of_memory_kills()
        known = None if before is None or after is None else after > before
        self._channel.send(WorkerEnded(worker.number, code, known))

    def _end_orphans(self, alive: set[int] | tuple[()]) -> None:
        """Kill the processes that dead workers have left, which became children of this one."""
        if not FORKS:
            return
        for _ in range(_SWEEPS):
            orphans = [
                pid
                for pid, parent, session in processes()
                if parent == os.getpid() and pid not in alive and session not in alive
            ]
            if not orphans:
                return
            for pid in orphans:
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
                with suppress(OSError):
                    os.waitpid(pid, 0)


def end_session(pid: int) -> None:
    """Kill the processes in the session of a worker, whether it still lives or not.

    Without `/proc` they are those of its process group.
    """
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    for each, _, session in processes():
        if session == pid and each != os.getpid():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(each, signal.SIGKILL)


def _spawned(number: int, setup: WorkerSetup, pipe: Connection, output: int) -> _Worker:
    multiprocessing.current_process().daemon = False  # a daemon has no children
    printed = Connection(os.dup(output), readable=False)
    process = _CONTEXT.Process(target=_work_spawned, args=(pipe, setup, printed))
    process.start()
    printed.close()
    return _Worker(number, process.pid or 0, process.sentinel, process)


def _work_spawned(pipe: Connection, setup: WorkerSetup, printed: Connection) -> None:
    work(pipe, setup, os.dup(printed.fileno()))


def _control(option: int, value: int) -> None:
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


@contextmanager
def _signals_ignored() -> Iterator[None]:
    """Let processes that start here ignore what ends the run: only the main process handles it."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may change signal handlers
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
