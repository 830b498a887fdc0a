"""Plugins that turn against the run itself: the fork server, the pipes, signals. It costs their own cells."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.connection import Pipe
from pathlib import Path
from textwrap import dedent

import psutil
import pytest

from synflow_bench.execution import LocalExecutor, Resources, SerialExecutor, forkserver, local, slot
from synflow_bench.execution.forkserver import FORKS
from synflow_bench.execution.inbox import MOST_BYTES, Inbox
from synflow_bench.host import PluginFile
from synflow_bench.limits import Limits, Looks
from synflow_bench.records import Record, key_of
from synflow_bench.suites import Cell

MakeCell = Callable[..., Cell]
Run = Callable[..., list[Record]]

ATTACK = """
    import os, signal, socket, stat, threading, time
    from multiprocessing import parent_process
    from synflow_bench import Pruner, hookimpl
    from synflow_bench.protocols import CellInterrupted

    def write_to_sockets(content):
        for descriptor in range(3, 100):
            try:
                if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                    os.write(descriptor, content)
            except OSError:
                pass

    def kill_server(): os.kill(os.getppid(), signal.SIGKILL)
    def stop_server(): os.kill(os.getppid(), signal.SIGSTOP)
    def signal_itself(): os.kill(os.getpid(), signal.SIGUSR1)
    def interrupt(): raise CellInterrupted
    in_worker = parent_process() is not None

    {at_import}
    class Attacks(Pruner):
        'Turns against the run.'
        needs_data = False
        def score(self, problem):
            {in_score}
            return {{name: weight.abs() for name, weight in problem.parameters.items()}}
    class Honest(Pruner):
        'Keeps large weights.'
        needs_data = False
        def score(self, problem):
            time.sleep(0.5)
            return {{name: weight.abs() for name, weight in problem.parameters.items()}}
    @hookimpl
    def synflow_bench_pruners():
        return {{"attacks": Attacks, "honest": Honest}}
"""


@pytest.fixture
def run(resources: Resources, tmp_path: Path) -> Iterator[Run]:
    """Run cells of a plugin that acts `in_score`, or `at_import` in workers."""
    executors: list[LocalExecutor] = []

    def run(
        cells: list[Cell],
        in_score: str = "pass",
        at_import: str = "",
        workers: int = 2,
        limits: Limits | None = None,
        serial: bool = False,
    ) -> list[Record]:
        path = tmp_path / "attack.py"
        path.write_text(dedent(ATTACK).format(in_score=in_score, at_import=at_import))
        given = replace(
            resources, workers=workers, plugins=(PluginFile.read(path),), limits=limits or Limits()
        )
        executor = (SerialExecutor if serial else LocalExecutor)(given, lambda _cell, _epoch: None)
        executors.append(executor)  # type: ignore[arg-type]
        for cell in cells:
            executor.submit(cell)
        records = list(executor.finished())
        executor.close()
        assert Counter(record.key for record in records) == Counter(map(key_of, cells))
        return records

    yield run
    for executor in executors:
        executor.close()


def failed(records: list[Record], kind: str) -> list[str]:
    """The messages of the failed cells of the attacking row, which are of one kind; all others are ok."""
    messages = []
    for record in records:
        if record.error is None:
            assert record.status == "ok"
            continue
        assert (record.cell.pruner.name, record.error.kind) == ("attacks", kind)
        messages.append(record.error.message)
    return messages


@pytest.mark.slow
@pytest.mark.skipif(not FORKS, reason="elsewhere workers outlive the fork server for a moment")
def test_a_plugin_that_kills_the_parent_of_all_workers_costs_its_own_cells(
    make_cell: MakeCell, run: Run
) -> None:
    """More of its cells than servers may end in a row; cells of others run beside them."""
    cells = [make_cell("attacks", seed=seed) for seed in range(3)]
    cells += [make_cell(name, seed=seed) for seed in range(2) for name in ("honest", "random")]
    records = run(cells, "kill_server(); time.sleep(600)")
    assert len(failed(records, "WorkerDied")) == 3
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN


@pytest.mark.slow
def test_a_plugin_that_kills_it_at_the_start_of_its_workers_costs_its_own_cells(
    make_cell: MakeCell, run: Run
) -> None:
    cells = [make_cell("attacks", seed=seed) for seed in range(4)] + [make_cell("random")]
    at_import = "if in_worker: kill_server(); time.sleep(600)"
    assert len(failed(run(cells, at_import=at_import), "WorkerDied")) == 4


@pytest.mark.slow
def test_a_cell_that_succeeded_before_its_worker_killed_it_is_recorded(make_cell: MakeCell, run: Run) -> None:
    """Cells that were lost run alone: not even the worker of a finished cell is left then."""
    cells = [make_cell("attacks", seed=seed) for seed in range(2)] + [make_cell("honest")]
    later = "threading.Timer(0.2, kill_server).start()"
    assert failed(run(cells, later), "WorkerDied") == []


@pytest.mark.slow
@pytest.mark.skipif(not FORKS, reason="elsewhere workers are not children of the fork server")
def test_a_fork_server_that_does_not_answer_is_replaced(
    make_cell: MakeCell, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forkserver, "ANSWER_INTERVAL", 0.5)
    monkeypatch.setattr(forkserver, "START_LOOKS", 1000)
    cells = [make_cell("attacks"), *(make_cell("honest", seed=seed) for seed in range(2))]
    (message,) = failed(run(cells, "stop_server(); time.sleep(600)"), "WorkerDied")
    assert "was stopped" in message


@pytest.mark.parametrize("serial", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_plugin_that_raises_the_interruption_of_a_stop_costs_its_own_cell(
    make_cell: MakeCell, run: Run, serial: bool
) -> None:
    cells = [make_cell("attacks"), make_cell("random")]
    records = run(cells, "interrupt()", workers=1, serial=serial)
    assert failed(records, "CellInterrupted") != []


@pytest.mark.slow
def test_a_worker_that_interrupts_itself_costs_its_own_cells(make_cell: MakeCell, run: Run) -> None:
    cells = [make_cell("attacks", seed=seed) for seed in range(2)] + [make_cell("random")]
    assert len(failed(run(cells, "signal_itself()"), "WorkerDied")) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "content",
    [
        b"\0\0",  # with the next message it is one that cannot be read
        (MOST_BYTES - 1).to_bytes(4, "big"),  # it takes all further messages for its content
    ],
    ids=["a part", "a size"],
)
def test_a_plugin_that_writes_into_the_pipe_of_its_worker_costs_its_own_cell(
    make_cell: MakeCell, run: Run, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(slot, "STOPPED_INTERVAL", 0.4)
    records = run([make_cell("attacks"), make_cell("random")], f"write_to_sockets({content!r})", workers=1)
    (message,) = failed(records, "WorkerDied")
    assert "not a message" in message


def test_messages_are_read_whole_whatever_parts_arrive() -> None:
    here, there = Pipe()
    inbox = Inbox(here)
    there.send("a")
    there.send(["b"] * 1000)
    first = inbox.receive()
    assert next(first) == "a"
    first.close()  # a signal has come
    os.write(there.fileno(), b"\0\0")
    assert list(inbox.receive()) == [["b"] * 1000]
    assert inbox.unfinished
    there.close()
    assert list(inbox.receive()) == []
    assert (inbox.has_ended, inbox.is_broken) == (True, False)
    here.close()


@pytest.mark.parametrize("content", [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\4hello"])
def test_what_is_no_message_is_noticed(content: bytes) -> None:
    here, there = Pipe()
    with here, there:
        inbox = Inbox(here)
        there.send("a")
        os.write(there.fileno(), content)
        assert list(inbox.receive()) == ["a"]
        assert inbox.is_broken


@pytest.mark.slow
def test_the_time_in_which_workers_start_is_not_that_of_a_cell(make_cell: MakeCell, run: Run) -> None:
    """Importing the plugin takes longer than its cells may."""
    records = run(
        [make_cell("honest"), make_cell("attacks")],
        at_import="time.sleep(4 * in_worker)",
        limits=Limits(cell_timeout=3),
    )
    assert failed(records, "CellTimeout") == []


@pytest.mark.slow
def test_one_slow_start_of_a_worker_costs_no_cell_and_two_those_of_its_row(
    make_cell: MakeCell, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(slot, "START_SECONDS", 5.0)
    flag = tmp_path / "flag"
    flag.touch()
    cells = [make_cell("attacks", seed=seed) for seed in range(2)] + [make_cell("random")]
    first = f"if in_worker and os.path.exists({str(flag)!r}): os.unlink({str(flag)!r}); time.sleep(600)"
    limits = Limits(cell_timeout=4)
    assert failed(run(cells, at_import=first, workers=1, limits=limits), "CellTimeout") == []
    assert not flag.exists()
    messages = failed(run(cells, at_import="time.sleep(600 * in_worker)", limits=limits), "CellTimeout")
    assert len(messages) == 2
    assert "set up within 5 s" in messages[0]


@pytest.mark.slow
@pytest.mark.skipif(not FORKS, reason="elsewhere it has other processes")
def test_a_signal_while_an_executor_closes_does_not_keep_it_from_closing(
    make_cell: MakeCell, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "GRACE", 0.2)
    executor = LocalExecutor(replace(resources, workers=1), lambda _cell, _epoch: None)
    before = set(psutil.Process().children())
    executor.submit(make_cell())
    assert [record.status for record in executor.finished()] == ["ok"]
    started = set(psutil.Process().children()) - before
    (server,) = (process for process in started if process.children())
    server.suspend()  # so that it is waited for

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    handler = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 1.5)
    try:
        with pytest.raises(KeyboardInterrupt):
            executor.close()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
    executor.close()
    assert not server.is_running()


def test_looks_count_only_in_a_row() -> None:
    looks = Looks(10, 2)
    begin = looks.next
    assert not looks.are_enough(begin - 1, lambda: True)
    assert not looks.are_enough(begin, lambda: True)
    assert not looks.are_enough(begin + 9, lambda: True)
    assert not looks.are_enough(begin + 10, lambda: False)
    assert not looks.are_enough(begin + 1000, lambda: True)
    assert looks.are_enough(begin + 1010, lambda: True)
