"""`synflow-bench run --dry-run`: the status of each cell, and the expected time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]


def timings(results: Path) -> list[float]:
    paths = results.glob("records/**/*.json")
    return [json.loads(path.read_text())["timing"]["total_seconds"] for path in paths]


def test_it_runs_nothing_and_estimates_by_a_short_training(small: Run, results: Path) -> None:
    outcome = small("--dry-run")
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert [line.split(maxsplit=1)[1] for line in lines[:2]] == [
        "to run    digits / fc / dense / compression 1 / seed 0",
        "to run    digits / fc / random / compression 10 / seed 0",
    ]
    assert lines[2].startswith("digits / fc (")
    assert " per cell, " in lines[2]
    assert lines[3].startswith("2 cells: 0 recorded, 2 to run, 0 skipped; to run for about 0:0")
    assert lines[3].endswith(" with 1 worker")
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
    for path in results.glob("records/**/*.json"):
        record = json.loads(path.read_text())
        record["timing"]["total_seconds"] = 754
        path.write_text(json.dumps(record))
    lines = small("--dry-run", "--compression", "20", "--compression", "50").out.splitlines()
    assert "about 12:34 per cell" in lines[-2]
    assert "2 to run, 0 skipped; to run for about 25:08 with 1 worker" in lines[-1]


def test_the_time_is_divided_by_the_workers(run: Run) -> None:
    arguments = ["--pruner", "random", "--dry-run", "--json", "--workers", "4"]
    outcome = json.loads(run(*arguments, executor="local").out)
    (estimate,) = outcome["estimates"]
    assert outcome["workers"] == 4
    assert outcome["seconds"] == pytest.approx(estimate["cells"] * estimate["seconds_per_cell"] / 4)


def test_without_missing_cells_there_is_no_estimate(small: Run) -> None:
    small()
    assert small("--dry-run").out.splitlines()[-1] == "2 cells: 2 recorded, 0 to run, 0 skipped"
