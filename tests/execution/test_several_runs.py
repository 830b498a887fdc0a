"""Several real runs on one folder: each cell is computed once, also when one of the runs is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synflow_bench.records import Store

pytestmark = pytest.mark.slow

SEEDS, COMPRESSIONS = 10, (2, 3, 5, 10, 20, 30, 50, 80, 100)
CELLS = SEEDS * (1 + len(COMPRESSIONS))
PRUNERS = """
    import os
    from synflow_bench import Pruner
    class Counted(Pruner):
        'Magnitude, which writes down every pruning.'
        needs_data = False
        def score(self, problem):
            descriptor = os.open(os.environ["PRUNINGS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(descriptor, b"pruned\\n")
            os.close(descriptor)
            return {name: weight.abs() for name, weight in problem.parameters.items()}
    @hookimpl
    def synflow_bench_pruners():
        return {"counted": Counted}
"""


class Runs:
    """Starts runs of the same hundred cells on one folder."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment
        self.results = folder / "results"
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, executor: str = "serial") -> subprocess.Popen[str]:
        log = self.folder / f"log{len(self.processes)}.jsonl"
        command = [sys.executable, "-m", "synflow_bench", "run", "--pruner=counted", f"--seeds={SEEDS}"]
        command += ["--epochs=1", "--results", str(self.results), "--json", "--log-json", str(log)]
        command += ["--executor", executor, *(f"--compression={ratio}" for ratio in COMPRESSIONS)]
        if executor == "local":
            command.append("--workers=1")
        process = subprocess.Popen(
            command,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def wait_for_records(self, count: int) -> None:
        deadline = time.monotonic() + 240
        while len(list(self.results.glob("records/*/*/*/*.json"))) < count:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def events(self, event: str) -> list[list[str]]:
        """The keys of the cells of an event, by run."""
        found = []
        for number in range(len(self.processes)):
            lines = map(json.loads, (self.folder / f"log{number}.jsonl").read_text().splitlines())
            found.append([line["key"] for line in lines if line["event"] == event])
        return found

    def prunings(self) -> int:
        return (self.folder / "prunings").read_text().count("pruned")


@pytest.fixture
def runs(tmp_path: Path, distribution: Any) -> Any:
    distribution("counted", PRUNERS)
    runs = Runs(tmp_path, distribution.environment(PRUNINGS=str(tmp_path / "prunings")))
    yield runs
    for process in runs.processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def outcome(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.mark.parametrize("executor", ["serial", "local"])
def test_three_runs_compute_each_of_a_hundred_cells_once(runs: Runs, executor: str) -> None:
    found = [outcome(process) for process in [runs.start(executor) for _ in range(3)]]
    assert len(Store(runs.results).results()) == CELLS == 100
    assert [each["ok"] + each["elsewhere"] for each in found] == [CELLS] * 3
    started = Counter(key for keys in runs.events("cell started") for key in keys)
    returned = Counter(key for keys in runs.events("cell returned") for key in keys)
    assert sorted((started - returned).values()) == [1] * CELLS
    finished = runs.events("cell finished")
    assert sorted(key for keys in finished for key in keys) == sorted(started)
    assert min(map(len, finished)) > 0
    assert runs.prunings() == CELLS - SEEDS


@pytest.mark.parametrize("executor", ["serial", "local"])
def test_when_one_of_three_runs_is_killed_the_others_do_its_cells(runs: Runs, executor: str) -> None:
    processes = [runs.start(executor) for _ in range(3)]
    runs.wait_for_records(17)
    os.killpg(processes[1].pid, signal.SIGKILL)
    found = [outcome(process) for process in (processes[0], processes[2])]
    assert len(Store(runs.results).results()) == CELLS
    assert all(cell["status"] == "ok" for each in found for cell in each["cells"])
    finished = runs.events("cell finished")
    again = Counter(key for keys in finished for key in keys)
    assert max(again.values()) == 1  # no record was made twice
    left = sum(map(Counter, runs.events("cell started")), Counter[str]()).total() - CELLS
    assert 0 <= left <= 16  # what the killed one was computing is all that is computed again
    assert list((runs.results / "claims").iterdir()) == []
    assert list((runs.results / "runs").iterdir()) == []


def test_a_run_that_comes_later_takes_a_share_and_one_after_the_end_none(runs: Runs) -> None:
    first = runs.start()
    runs.wait_for_records(10)
    second = runs.start()
    assert outcome(second)["ok"] > 0
    assert outcome(first)["elsewhere"] > 0
    assert outcome(runs.start())["recorded"] == CELLS


def test_status_sees_the_runs(runs: Runs, invoke: Callable[..., Any]) -> None:
    processes = [runs.start() for _ in range(2)]
    runs.wait_for_records(5)
    found = json.loads(invoke("status", "--results", str(runs.results), "--json").out)
    assert {run["pid"] for run in found["runs"]} == {process.pid for process in processes}
    assert found["lost"] == 0
    os.killpg(processes[0].pid, signal.SIGKILL)
    processes[0].wait()
    found = json.loads(invoke("status", "--results", str(runs.results), "--json").out)
    assert [run["pid"] for run in found["runs"] if run["lost"]] == [processes[0].pid]
