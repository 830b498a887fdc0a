"""`synflow-bench run --dry-run`: the status of each cell, and the expected time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synflow_bench.execution import ExecutorError
from synflow_bench.execution.local import LocalExecutor
from synflow_bench.records import Store

Run = Callable[..., Any]


def timings(results: Path) -> list[float]:
    paths = results.glob("records/**/*.json")
    return [json.loads(path.read_text())["timing"]["total_seconds"] for path in paths]


def test_it_runs_nothing_and_estimates_by_a_short_training(small: Run, results: Path) -> None:
    outcome = small("--dry-run")
    assert outcome.code == 0
    summary, setting, *cells, again = outcome.out.splitlines()
    assert again == summary
    assert summary.startswith("2 cells: 0 recorded, 2 to run, 0 skipped; to run for about 0:0")
    assert summary.endswith(" with 1 worker"), "cells run in this process: nothing starts"
    assert setting.startswith("digits / fc (")
    assert " per cell, " in setting
    assert [line.split(maxsplit=1)[1] for line in cells] == [
        "to run    digits / fc / dense / compression 1 / seed 0",
        "to run    digits / fc / random / compression 10 / seed 0",
    ]
    assert not results.exists()


def test_it_estimates_by_the_recorded_cells(small: Run, results: Path) -> None:
    small()
    seconds = timings(results)
    outcome = json.loads(small("--dry-run", "--json", "--compression", "20").out)
    assert [cell["status"] for cell in outcome["cells"]] == ["ok", "ok", "to run"]
    (estimate,) = outcome["estimates"]
    assert estimate["seconds_per_cell"] == pytest.approx(sum(seconds) / 2)
    assert estimate["cells"] == 1
    assert "2 recorded cells" in estimate["source"]
    assert outcome["seconds"] == pytest.approx(estimate["seconds_per_cell"])
    assert timings(results) == seconds


def test_long_times_are_written_as_minutes_and_seconds(small: Run, results: Path) -> None:
    small()
    store = Store(results)
    for record in list(store):
        assert record.timing is not None
        slow = record.timing.model_copy(update={"total_seconds": 754.0})
        store.put(record.model_copy(update={"timing": slow}))
    lines = small("--dry-run", "--compression", "20", "--compression", "50").out.splitlines()
    assert "2 to run, 0 skipped; to run for about 25:08 with 1 worker" in lines[0]
    assert "about 12:34 per cell" in lines[1]


def test_the_time_is_divided_by_the_workers_and_begins_with_their_start(run: Run) -> None:
    arguments = ["--pruner", "random", "--dry-run", "--json", "--workers", "4"]
    outcome = json.loads(run(*arguments, executor="local").out)
    (estimate,) = outcome["estimates"]
    assert outcome["workers"] == 4
    assert outcome["start_seconds"] > 0
    trained = estimate["cells"] * estimate["seconds_per_cell"] / 4
    assert outcome["seconds"] == pytest.approx(outcome["start_seconds"] + trained)


def test_a_worker_that_cannot_start_is_an_error_of_a_dry_run_too(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalExecutor, "time_start", cannot_start)
    outcome = run("--pruner", "random", "--dry-run", executor="local")
    assert outcome.code != 0
    assert "no room" in outcome.err


def cannot_start(_executor: LocalExecutor) -> float:
    raise ExecutorError("no room")


def test_without_missing_cells_there_is_no_estimate(small: Run) -> None:
    small()
    assert small("--dry-run").out.splitlines()[0] == "2 cells: 2 recorded, 0 to run, 0 skipped"
