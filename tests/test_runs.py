"""The files of runs: a run is alive as long as its process is, or its file is renewed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synflow_bench import runs as runs_module
from synflow_bench.errors import RecordError
from synflow_bench.runs import LEASE, CellProgress, RunFile, Runs, file_system_time, process_start, read_run

ELSEWHERE = "another machine"


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path, watched=0)


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., str]:
    """The file of a run that is not renewed: `make_run("one", machine=..., pid=..., age=seconds)`."""

    def make_run(name: str = "one", *, age: float = 0.0, **fields: Any) -> str:
        state = RunFile(tmp_path).state.model_copy(update={"run": name, **fields})
        path = tmp_path / "runs" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(state.model_dump_json())
        moment = file_system_time(path.parent) - age
        os.utime(path, (moment, moment))
        return name

    return make_run


def test_the_file_is_there_while_the_run_is_open_and_describes_it(tmp_path: Path) -> None:
    cell = CellProgress(key="0" * 16, title="digits / fc", epoch=2, epochs=5, test_top1=0.5)
    file = RunFile(tmp_path)
    file.show(lambda state: state.model_copy(update={"workers": 3, "running": (cell,)}))
    with file.open():
        state = read_run(file.path)
        assert state is not None
        assert (state.pid, state.workers, state.running) == (os.getpid(), 3, (cell,))
        assert file.opened == file.path.stat().st_mtime
        assert Runs(tmp_path).states() == [state]
        assert Runs(tmp_path).is_alive(file.name)
    assert not file.path.exists()


def test_a_change_is_written_within_a_moment_and_a_deleted_file_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs_module, "INTERVAL", 0.01)
    done = 0
    file = RunFile(tmp_path)
    file.show(lambda state: state.model_copy(update={"done": done}))
    with file.open():
        for done in (1, 2):
            file.path.unlink()
            deadline = time.monotonic() + 60
            while getattr(read_run(file.path), "done", None) != done:
                assert time.monotonic() < deadline
                time.sleep(0.01)


def test_a_folder_that_cannot_be_written_is_an_error_at_once(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(RecordError, match="cannot write"), RunFile(tmp_path).open():
        pass


def test_a_run_on_this_machine_is_alive_exactly_as_long_as_its_process(
    runs: Runs, make_run: Callable[..., str]
) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = make_run(pid=process.pid, process_started=process_start(process.pid))
    assert runs.is_alive(name)
    process.kill()
    while process_start(process.pid) is not None:  # a zombie has ended too
        time.sleep(0.01)
    assert not runs.is_alive(name)
    process.wait()
    assert not runs.is_alive(name)
    process.communicate()


def test_files_of_killed_runs_on_this_machine_can_be_removed(
    runs: Runs, make_run: Callable[..., str]
) -> None:
    make_run("killed", pid=2**22 + 1)
    make_run("alive")
    make_run("elsewhere", pid=2**22 + 1, machine=ELSEWHERE)
    (runs.folder / ".killed-7-0a1b2c3d.tmp").touch()  # it was killed while it wrote
    host = RunFile(runs.folder.parent).name.rsplit("-", 2)[0]
    first = runs.folder / f".{host}-{2**22 + 1}-0a1b2c3d-{2**22 + 1}-0a1b2c3d.tmp"
    first.touch()  # and this one before it had written once
    writing = runs.folder / f".{host}-{os.getpid()}-0a1b2c3d-{os.getpid()}-0a1b2c3d.tmp"
    writing.touch()
    runs.remove_ended()
    assert list(runs.folder.glob(".*.tmp")) == [writing]
    assert {state.run for state in runs.states()} == {"alive", "elsewhere"}


def test_a_later_process_of_the_same_number_is_another_one(runs: Runs, make_run: Callable[..., str]) -> None:
    assert not runs.is_alive(make_run(process_started=1))


@pytest.mark.parametrize("pid", [0, 2**40])
def test_a_number_that_is_no_process_is_no_living_run(
    runs: Runs, make_run: Callable[..., str], pid: int
) -> None:
    assert not runs.is_alive(make_run(pid=pid, process_started=None))


def test_a_run_on_another_machine_is_alive_while_its_file_is_young(
    runs: Runs, make_run: Callable[..., str]
) -> None:
    fields = {"machine": ELSEWHERE, "pid": 0}
    assert runs.is_alive(make_run("young", age=0.9 * LEASE, **fields))
    assert not runs.is_alive(make_run("old", age=1.1 * LEASE, **fields))


def test_the_clock_of_this_machine_does_not_count(
    runs: Runs, make_run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert runs.is_alive(make_run("young", machine=ELSEWHERE, age=1))
    assert not runs.is_alive(make_run("old", machine=ELSEWHERE, age=2 * LEASE))


def test_an_old_file_must_be_seen_to_stand_still(
    tmp_path: Path, make_run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a machine has slept, all files are old until their runs have had a moment to renew them."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    runs, name = Runs(tmp_path), make_run(machine=ELSEWHERE, age=2 * LEASE)
    assert runs.is_alive(name)
    now += 3
    make_run(machine=ELSEWHERE, age=1.5 * LEASE)  # renewed, by a clock that is behind
    assert runs.is_alive(name)
    now += 4
    assert runs.is_alive(name)
    now += 2
    assert not runs.is_alive(name)


def test_without_a_file_the_time_of_the_claim_counts(runs: Runs, tmp_path: Path) -> None:
    runs.folder.mkdir()
    claim = tmp_path / "claim"
    claim.touch()
    assert runs.is_alive("gone", otherwise=claim)
    os.utime(claim, (0, 0))
    assert not runs.is_alive("gone", otherwise=claim)
    assert not runs.is_alive("gone")


@pytest.mark.parametrize(
    "content", ["", "{", "[" * 100_000, '{"run": "one"}', json.dumps({"run": "x" * 2**21}), "\ud800"]
)
def test_a_damaged_file_is_no_run(runs: Runs, content: str) -> None:
    runs.folder.mkdir()
    runs.path("one").write_text(content, errors="surrogatepass")
    assert runs.states() == []
    assert runs.is_alive("one")  # until it is old


ODD: dict[str, Any] = {
    "done": -1,
    "cells": 10**400,
    "pid": -1,
    "elsewhere": 10**400,
    "workers": "many",
    "seconds_left": 1e300,
    "started": "9999-12-31T23:59:59-14:00",
    "updated": "99999-01-01T00:00:00Z",
    "process_started": -3,
    "running": [{"key": "k", "title": "t", "epoch": -1, "epochs": 3}],
    "host": None,
}


@pytest.mark.parametrize("field", ODD)
def test_a_file_with_odd_numbers_or_times_is_no_run_and_is_named(
    field: str, runs: Runs, make_run: Callable[..., str]
) -> None:
    make_run("two")
    path = runs.path(make_run())
    path.write_text(json.dumps({**json.loads(path.read_text()), field: ODD[field]}))
    lines: list[str] = []
    assert [state.run for state in runs.states(lines)] == ["two"]
    (line,) = lines
    assert repr(str(path)) in line
    assert field in line


def test_infinite_numbers_are_named_too(runs: Runs, make_run: Callable[..., str]) -> None:
    path = runs.path(make_run(done=7777))
    path.write_text(path.read_text().replace("7777", "1e400"))
    lines: list[str] = []
    assert runs.states(lines) == []
    assert "done" in lines[0]


def test_pipes_and_endless_links_are_named_and_not_read(runs: Runs) -> None:
    runs.folder.mkdir()
    os.mkfifo(runs.path("pipe"))
    runs.path("loop").symlink_to("loop.json")
    lines: list[str] = []
    assert runs.states(lines) == []
    assert len(lines) == 2
    assert runs.is_alive("pipe")  # until it is old


def test_a_folder_that_cannot_be_read_is_named(runs: Runs) -> None:
    runs.folder.write_text("a file")
    lines: list[str] = []
    assert runs.states(lines) == []
    assert repr(str(runs.folder)) in lines[0]


def test_the_content_of_another_file_is_no_run(runs: Runs, make_run: Callable[..., str]) -> None:
    make_run().replace("one", "two")
    runs.path("one").rename(runs.path("two"))
    assert runs.states() == []
