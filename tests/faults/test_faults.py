"""Runs that are broken in many ways lose nothing, compute nothing twice, and leave nothing behind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from fault_campaign import FAULTS, page, reference, run_trial, soak
from fault_trial import MARK, Count, Trial

Results = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def expected() -> Results:
    return reference()


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_no_fault_does_harm(name: str, expected: Results) -> None:
    count, problems = run_trial(name, seed=0, expected=expected)
    assert problems == []
    assert count.harm == 0, count
    assert count.recorded == count.planned >= len(expected) == 10


@pytest.mark.slow
def test_cells_under_random_kills_are_all_recorded_and_each_once() -> None:
    count, kills, problems = soak(420, seed=1)
    assert problems == []
    assert (count.recorded, count.harm) == (420, 0), count
    assert kills > 0


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    trial = Trial(tmp_path, 0, {})
    (trial.results / "records").mkdir(parents=True)
    return trial


def test_a_record_that_is_written_again_is_noticed(trial: Trial) -> None:
    path = trial.results / "records" / "one.json"
    path.write_text("{}")
    assert trial.look() == 1
    other = path.with_name("other")
    other.write_text("{}")
    other.replace(path)
    trial.look()
    assert trial.rewritten == {"one.json"}


def test_a_process_that_is_left_is_noticed_and_ended(trial: Trial, launch: Any) -> None:
    code = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],"
    code += " stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)"
    launch(code=code, env={**os.environ, MARK: trial.token})
    assert trial.finish().processes_left == 1
    assert trial.finish().processes_left == 0


@pytest.mark.parametrize(
    "place", ["claims/key/run", "runs/run.json", "records/a/.b.tmp", "checkpoints/key/1"]
)
def test_a_file_that_is_left_is_noticed(trial: Trial, place: str) -> None:
    path = trial.results / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert trial.finish().files_left == 1


def test_a_planned_cell_without_a_record_is_lost(trial: Trial) -> None:
    trial.planned = {"a", "b"}
    count = trial.finish()
    assert (count.planned, count.recorded, count.lost, count.harm) == (2, 0, 2, 2)


def test_the_page_adds_the_trials_of_a_fault() -> None:
    count = Count()
    for _ in range(3):
        count.add(Count(trials=1, planned=10, recorded=9, lost=1))
    text = page({"a fault": count}, 0, "fault_campaign.py", (Count(trials=1, planned=2100, recorded=2100), 7))
    assert "| a fault | 3 | 30 | 27 | 3 | 0 | 0 | 0 | 0 | 0 |" in text
    assert "| 2,100 cells under 7 random kills | 1 | 2,100 | 2,100 |" in text
