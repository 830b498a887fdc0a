"""`synflow-bench status`: the runs of a folder, and the events of one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from synflow_bench.records import Record, Store
from synflow_bench.runs import CellProgress, RunFile

Run = Callable[..., Any]


@pytest.fixture
def store(results: Path, make_record: Callable[..., Record]) -> Store:
    """Three records, of which one failed."""
    store = Store(results)
    for seed, status in enumerate(("ok", "ok", "failed")):
        store.put(make_record(seed=seed, status=status))
    return store


@pytest.fixture
def working(results: Path) -> RunFile:
    """A run that has done 6 of 8 cells in half an hour, two of them by another run."""
    cell = CellProgress(key="0" * 16, title="digits / fc / snip\x1b[31m", epoch=2, epochs=5, test_top1=0.875)
    file = RunFile(results)
    started = file.state.started - timedelta(minutes=30)
    changes = {"started": started, "workers": 2, "cells": 8, "done": 6, "failed": 1, "elsewhere": 2}
    file.show(lambda state: state.model_copy(update={**changes, "seconds_left": 125, "running": (cell,)}))
    return file


def test_it_names_machines_running_cells_and_the_time_left(
    invoke: Run, store: Store, working: RunFile, results: Path
) -> None:
    with working.open():
        outcome = invoke("status", "--results", str(results))
    assert (outcome.code, outcome.err) == (0, "")
    records, header, run, _, _, cell = outcome.out.splitlines()
    assert records == f"records in {str(results)!r}: 2 ok, 1 failed"
    assert header.split() == [
        *("machine", "process", "running", "done", "failed", "elsewhere", "cells/h", "time", "left")
    ]
    assert run.split()[1:] == [str(os.getpid()), "1", "on", "2", "6/8", "1", "2", "8", "2:05"]
    assert "2/5" in cell
    assert "87.5%" in cell
    assert "\x1b" not in outcome.out


def test_json_has_the_same_as_fields(invoke: Run, store: Store, working: RunFile, results: Path) -> None:
    with working.open():
        outcome = json.loads(invoke("status", "--results", str(results), "--json").out)
    assert outcome["records"] == {"ok": 2, "failed": 1, "unreadable": 0}
    (run,) = outcome["runs"]
    assert (run["pid"], run["done"], run["cells_per_hour"], run["lost"]) == (os.getpid(), 6, 8.0, False)
    assert run["running"][0]["test_top1"] == 0.875


def test_without_a_run_only_records_are_counted(invoke: Run, store: Store, results: Path) -> None:
    outcome = invoke("status", "--results", str(results))
    assert outcome.out.splitlines()[1:] == ["no run is active"]
    assert outcome.code == 0


def test_a_lost_run_is_named(invoke: Run, store: Store, working: RunFile, results: Path) -> None:
    working.state = working.state.model_copy(update={"pid": 2**22 + 1})
    with working.open():
        before = sorted(results.rglob("*"))
        outcome = invoke("status", "--results", str(results))
        listed = json.loads(invoke("status", "--results", str(results), "--json").out)
        assert sorted(results.rglob("*")) == before
    assert outcome.code == 1
    assert outcome.out.splitlines()[1] == "no run is active"
    assert f"lost: {working.state.title}" in outcome.out
    assert [run["lost"] for run in listed["runs"]] == [True]


def test_a_record_that_cannot_be_read_is_counted(invoke: Run, store: Store, results: Path) -> None:
    store.paths()[0].write_text("half a rec")
    outcome = invoke("status", "--results", str(results))
    assert outcome.code == 1
    assert "1 unreadable" in outcome.out


def test_the_file_of_a_run_that_cannot_be_read_is_named(
    invoke: Run, small: Run, store: Store, working: RunFile, results: Path
) -> None:
    with working.open():
        odd = working.path.with_name("odd.json")
        odd.write_text(working.path.read_text().replace('"done": 6', '"done": 1e400'))
        outcome = invoke("status", "--results", str(results), "--json")
        assert outcome.code == 1
        assert json.loads(outcome.out)["alive"] == 1
        assert repr(str(odd)) in outcome.err
        assert repr(str(odd)) in small("--dry-run").err


def test_a_folder_that_does_not_exist_is_refused(invoke: Run, results: Path) -> None:
    invoke("status", "--results", str(results)).assert_refused(str(results))
    assert not results.exists()


def test_a_run_writes_its_events_to_a_file(small: Run, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    assert small("--log-json", str(log)).code == 0
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert [event["event"] for event in events] == [
        "run started",
        *["cell started", "epoch", "epoch", "cell finished"] * 2,
        "run finished",
    ]
    assert events[-1]["ok"] == 2


def test_a_log_that_is_a_pipe_needs_a_reader(small: Run, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    small("--log-json", str(pipe)).assert_refused("nobody reads")
    with open(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), "rb") as reader:  # noqa: PTH123
        assert small("--log-json", str(pipe)).code == 0
        assert json.loads(reader.read().splitlines()[-1])["event"] == "run finished"


def test_a_log_that_cannot_be_written_ends_the_run_before_it_starts(
    small: Run, tmp_path: Path, results: Path
) -> None:
    small("--log-json", str(tmp_path / "no" / "log")).assert_refused("cannot write log")
    assert not list(results.rglob("*.json"))


@pytest.mark.parametrize("shard", ["0/3", "4/3", "1/0", "1", "1/2/3", "a/b", "", "-1/3", "1/" + "9" * 5000])
def test_a_shard_that_is_none_is_refused(small: Run, shard: str) -> None:
    small("--shard", shard).assert_refused("shard=", '"1/3"')


def test_a_shard_without_cells_says_so(small: Run) -> None:
    assert "has no cells" in small("--shard", "1/1000000", "--dry-run").err


def test_shards_divide_the_cells(plan: Callable[..., list[tuple[str, ...]]]) -> None:
    compressions = [f"--compression={compression}" for compression in range(2, 12)]
    whole = plan("--pruner", "random", *compressions)
    parts = [plan("--pruner", "random", *compressions, "--shard", f"{number}/3") for number in (1, 2, 3)]
    assert len(whole) == 11
    assert sorted(cell for part in parts for cell in part) == sorted(whole)


def test_the_end_names_every_failure_with_the_command_that_shows_it(
    run: Run, invoke: Run, distribution: Any
) -> None:
    distribution(
        "faulty",
        """
        from synflow_bench import Pruner
        class Raising(Pruner):
            def score(self, problem):
                raise ZeroDivisionError("no such luck")
        @hookimpl
        def synflow_bench_pruners():
            return {"raising": Raising}
        """,
    )
    compressions = [f"--compression={compression}" for compression in (2, 3, 4, 5)]
    outcome = run("--pruner", "raising", "--pruner", "random", *compressions)
    commands = [line.strip() for line in outcome.err.splitlines() if line.startswith("  synflow-bench show ")]
    failed = [line for line in commands if "raising" in line]
    assert len(failed) == 4
    assert len(commands) == 4 + 3
    assert all("ZeroDivisionError" in line for line in failed)
    shown = invoke(*failed[-1].partition("  #")[0].split()[1:])
    assert shown.code == 0
    assert "no such luck" in shown.out
