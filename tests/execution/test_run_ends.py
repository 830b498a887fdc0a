"""A run that ends early, as a process of its own: killed, interrupted or terminated.

Nothing that had finished is lost, no worker is left, and the next run does only what is missing.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from synflow_bench.cli import main

pytestmark = pytest.mark.slow

SLOW = """
    import os, time
    from pathlib import Path
    from synflow_bench import Pruner
    class Slow(Pruner):
        'Waits, from compression 20 on, as long as its flag is there.'
        needs_data = False
        def score(self, problem):
            while problem.density < 0.06 and Path(os.environ["SLOW_FLAG"]).exists():
                time.sleep(0.1)
            return {name: weight.abs() for name, weight in problem.parameters.items()}
    @hookimpl
    def synflow_bench_pruners():
        return {"slow": Slow}
"""
QUICK = (1, 2, 5)
WAITING = (20, 50)


START = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from synflow_bench.cli import main
sys.exit(main())
"""
"""As in a terminal: what runs these tests may ignore interrupts, and a process inherits that."""


class SlowRuns:
    """Starts runs of six cells, of which two wait."""

    def __init__(self, results: Path, flag: Path, environment: dict[str, str]) -> None:
        self.results, self.flag, self.environment = results, flag, environment
        compressions = (f"--compression={compression}" for compression in QUICK + WAITING)
        self.arguments = ["run", "--pruner=slow", "--seeds=1", "--epochs=1", *compressions]
        self.arguments += ["--results", str(results), "--json"]

    def start(self, *options: str) -> subprocess.Popen[str]:
        """A run in a process group of its own, as a shell would start it."""
        return subprocess.Popen(
            [sys.executable, "-c", START, *self.arguments, *options],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def records(self) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in (self.results / "records").rglob("[0-9a-f]*.json")}

    def wait_for_quick_cells(self, run: subprocess.Popen[str]) -> list[psutil.Process]:
        """Wait until all but the waiting cells are recorded; gives the run's other processes."""
        deadline = time.monotonic() + 120
        while len(self.records()) < len(QUICK):
            assert run.poll() is None, run.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(0.5)  # a record is on disk a moment before the run has counted it
        return psutil.Process(run.pid).children(recursive=True)

    def finish(self) -> None:
        """Let nothing wait any more, and run the same command to its end."""
        self.flag.unlink()
        assert main([*self.arguments, "--executor", "serial"]) == 0


@pytest.fixture
def runs(tmp_path: Path, distribution: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowRuns]:
    distribution("slow-pruner", SLOW)
    flag = tmp_path / "flag"
    flag.touch()
    monkeypatch.setenv("SLOW_FLAG", str(flag))
    yield SlowRuns(tmp_path / "results", flag, distribution.environment())
    flag.unlink(missing_ok=True)


@pytest.fixture
def check_the_next_run(runs: SlowRuns, capsys: pytest.CaptureFixture[str]) -> Callable[[], None]:
    """The next run does only what is missing, and leaves what was recorded as it is."""

    def check() -> None:
        before = runs.records()
        assert len(before) == len(QUICK)
        runs.finish()
        outcome = json.loads(capsys.readouterr().out)
        assert (outcome["ok"], outcome["recorded"], outcome["failed"]) == (len(WAITING), len(QUICK), 0)
        after = runs.records()
        assert len(after) == len(QUICK + WAITING)
        assert {path: after[path] for path in before} == before
        assert not (runs.results / "replaced").exists()

    return check


def test_a_killed_run_loses_no_record_repeats_no_cell_and_leaves_no_worker(
    runs: SlowRuns, check_the_next_run: Callable[[], None]
) -> None:
    with runs.start() as run:
        others = runs.wait_for_quick_cells(run)
        assert others
        run.kill()
    _, alive = psutil.wait_procs(others, timeout=5)
    assert alive == []
    check_the_next_run()


def ctrl_c(run: subprocess.Popen[str]) -> None:
    """A terminal interrupts every process of the run."""
    os.killpg(run.pid, signal.SIGINT)


def terminate(run: subprocess.Popen[str]) -> None:
    """A batch system terminates the process that it started."""
    os.kill(run.pid, signal.SIGTERM)


def hang_up(run: subprocess.Popen[str]) -> None:
    """A terminal that is closed."""
    os.kill(run.pid, signal.SIGHUP)


def warn_first(run: subprocess.Popen[str]) -> None:
    """A batch system warns that the time of a job is over."""
    os.kill(run.pid, signal.SIGUSR1)


@pytest.mark.parametrize(
    ("end", "executor", "by"),
    [
        (ctrl_c, "local", ""),
        (terminate, "local", " by SIGTERM"),
        (hang_up, "local", " by SIGHUP"),
        (warn_first, "serial", " by SIGUSR1"),
        (ctrl_c, "serial", ""),
    ],
)
def test_an_interrupt_keeps_what_is_finished(
    runs: SlowRuns,
    end: Callable[[subprocess.Popen[str]], None],
    executor: str,
    by: str,
    check_the_next_run: Callable[[], None],
) -> None:
    run = runs.start("--executor", executor)
    others = runs.wait_for_quick_cells(run)
    end(run)
    out, err = run.communicate(timeout=20)
    assert run.returncode == 130
    assert psutil.wait_procs(others, timeout=5)[1] == []
    outcome = json.loads(out)
    assert (outcome["ok"], outcome["interrupted"]) == (len(QUICK), True)
    assert [cell["status"] for cell in outcome["cells"]] == ["ok"] * len(QUICK) + [None] * len(WAITING)
    assert "Traceback" not in err
    assert f"interrupted{by}: " in err
    check_the_next_run()


def test_ctrl_c_while_workers_start_is_quiet(runs: SlowRuns) -> None:
    run = runs.start()
    deadline = time.monotonic() + 60
    while not psutil.Process(run.pid).children() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    ctrl_c(run)
    _, err = run.communicate(timeout=20)
    assert run.returncode == 130
    assert "Traceback" not in err
