"""What the harness costs: planning, dispatch with recording, and a run with nothing to do."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

from synflow_bench.execution import Plan, Resources, cells_of, make_plan, resolve_pruners, run_plan
from synflow_bench.execution.local import LocalExecutor
from synflow_bench.host import Host
from synflow_bench.records import Store
from synflow_bench.suites import Cell, ModelSpec, PrunerSpec, Recipe, Setting, Suite

Clock = Callable[[], float]
PRUNERS = ("random", "magnitude", "snip", "grasp", "synflow")
COMPRESSIONS = tuple(10 ** (step / 10) for step in range(1, 21))
RECORDED = Path(__file__).parents[1] / "leaderboard" / "smoke"
"""A suite with all its records."""


def suite_of(cells: int, dataset: str = "digits") -> Suite:
    """A suite of about so many cells, 101 a seed."""
    setting = Setting(dataset=dataset, model=ModelSpec(name="fc"), recipe=Recipe(epochs=1, optimizer="adam"))
    seeds = max(1, round(cells / (1 + len(PRUNERS) * len(COMPRESSIONS))))
    return Suite(name="many", compressions=COMPRESSIONS, seeds=seeds, settings=(setting,))


def cells_for(suite: Suite, host: Host) -> list[Cell]:
    return cells_of(suite, resolve_pruners([PrunerSpec(name=name) for name in PRUNERS], host), host)


def plan_seconds(cells: int, host: Host, root: Path, clock: Clock = time.process_time) -> tuple[int, float]:
    """How many cells were planned, nothing recorded yet, and in how many seconds."""
    suite = suite_of(cells)
    started = clock()
    planned = cells_for(suite, host)
    plan = make_plan(planned, host, Store(root), root)
    return len(plan.missing), clock() - started


def dispatch_seconds(cells: int, host: Host, root: Path) -> float:
    """Wall seconds from the first record to the last of cells that end at once, as their data are not there.

    They take the way of all cells: queued, sent to a worker, refused there, sent back, written, synced.
    """
    chosen = cells_for(suite_of(cells, "mnist"), host)[:cells]
    executor = LocalExecutor(Resources(root / "empty", "cpu", workers=1), lambda cell, epoch: None)
    ends: list[float] = []
    run_plan(
        Plan(chosen, missing=chosen),
        Store(root / "results"),
        executor,
        lambda record: ends.append(time.perf_counter()),
    )
    return ends[-1] - ends[0]


def recorded_run(*, torch_only: bool = False) -> float:
    """Processor seconds of a run that finds everything recorded, or of loading torch alone."""
    run = ["-m", "synflow_bench", "run", "--suite", str(RECORDED / "suite.toml")]
    arguments = ["-c", "import torch"] if torch_only else [*run, "--results", str(RECORDED / "results")]
    before = getrusage(RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    after = getrusage(RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
