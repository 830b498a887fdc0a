"""The overhead of synflow-bench: planning, dispatching and recording cells, and a run with nothing to do."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from typing import Any

import pytest

from synflow_bench.execution import Plan, Resources, cells_of, make_plan, resolve_pruners, run_plan
from synflow_bench.host import Host
from synflow_bench.records import Store
from synflow_bench.suites import Cell, ModelSpec, PrunerSpec, Recipe, Setting, Suite

Clock = Callable[[], float]
PRUNERS = ("random", "magnitude", "snip", "grasp", "synflow")
COMPRESSIONS = tuple(10 ** (step / 10) for step in range(1, 21))
RECORDED = Path(__file__).parents[1] / "leaderboard" / "smoke"
"""A suite with all its records."""


def suite_of(cells: int, dataset: str = "digits") -> Suite:
    """Return a suite of about `cells` cells, 101 per seed."""
    setting = Setting(dataset=dataset, model=ModelSpec(name="fc"), recipe=Recipe(epochs=1, optimizer="adam"))
    seeds = max(1, round(cells / (1 + len(PRUNERS) * len(COMPRESSIONS))))
    return Suite(name="many", compressions=COMPRESSIONS, seeds=seeds, settings=(setting,))


def cells_for(suite: Suite, host: Host) -> list[Cell]:
    return cells_of(suite, resolve_pruners([PrunerSpec(name=name) for name in PRUNERS], host), host)


def plan_seconds(cells: int, host: Host, root: Path, clock: Clock = time.process_time) -> tuple[int, float]:
    """Return the number of planned cells, none of them recorded, and the seconds of planning."""
    suite = suite_of(cells)
    started = clock()
    planned = cells_for(suite, host)
    plan = make_plan(planned, host, Store(root), root)
    return len(plan.missing), clock() - started


def dispatch_seconds(cells: int, host: Host, root: Path) -> float:
    """Return the wall seconds from the first to the last record of cells that end at once without data.

    Like all cells they are queued, sent to a worker, returned and written with fsync.
    """
    chosen = cells_for(suite_of(cells, "mnist"), host)[:cells]
    executor = host.executors.get("local")(Resources(root / "empty", "cpu", workers=1), lambda *_: None)
    ends: list[float] = []
    run_plan(
        Plan(chosen, missing=chosen),
        Store(root / "results"),
        executor,
        lambda record: ends.append(time.perf_counter()),
    )
    return ends[-1] - ends[0]


def recorded_run(*, torch_only: bool = False) -> float:
    """Return the processor seconds of a run with everything recorded, or of loading torch alone."""
    run = ["-m", "synflow_bench", "run", "--suite", str(RECORDED / "suite.toml")]
    arguments = ["-c", "import torch"] if torch_only else [*run, "--results", str(RECORDED / "results")]
    before = getrusage(RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    after = getrusage(RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.fixture(scope="module")
def host() -> Host:
    return Host.load()


@pytest.mark.benchmark(group="planning, processor time", timer=time.process_time)
def bench_planning(benchmark: Any, host: Host, timed: bool, tmp_path: Path) -> None:
    count = 100_000 if timed else 200
    planned, seconds = benchmark.pedantic(plan_seconds, (count, host, tmp_path), rounds=3)
    assert planned == pytest.approx(count, rel=0.02)
    benchmark.extra_info["microseconds per cell"] = round(seconds / planned * 1e6, 1)


@pytest.mark.benchmark(group="dispatch and record, wall time")
def bench_cells_that_end_at_once(benchmark: Any, host: Host, timed: bool, tmp_path: Path) -> None:
    count = 400 if timed else 5
    seconds = benchmark.pedantic(dispatch_seconds, (count, host, tmp_path), rounds=1)
    benchmark.extra_info["milliseconds per cell"] = round(seconds / (count - 1) * 1e3, 2)


@pytest.mark.benchmark(group="a run with everything recorded")
@pytest.mark.parametrize("torch_only", [False, True], ids=["run", "loading torch alone"])
def bench_a_run_with_nothing_to_do(benchmark: Any, torch_only: bool) -> None:
    seconds = benchmark.pedantic(recorded_run, kwargs={"torch_only": torch_only}, rounds=3)
    benchmark.extra_info["processor seconds of the last"] = round(seconds, 2)
