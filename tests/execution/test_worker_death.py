"""Workers that die: each costs its cell only, and one that cannot start does not stop the run for ever."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from synflow_bench.execution import Plan, Resources, Summary, make_plan, run_plan
from synflow_bench.execution.local import LocalExecutor
from synflow_bench.host import Host
from synflow_bench.records import Record, Store
from synflow_bench.suites import Cell

pytestmark = pytest.mark.slow

WAITING = """
    import os, signal, time
    from pathlib import Path
    from synflow_bench import Pruner
    FLAG = Path(os.environ["WAITING_FLAG"])
    class Waiting(Pruner):
        'Notes its process and waits as long as its flag is there; dies at once where the flag says so.'
        needs_data = False
        def score(self, problem):
            if FLAG.exists():
                if FLAG.read_text() == "die":
                    os.kill(os.getpid(), signal.SIGKILL)
                FLAG.write_text(str(os.getpid()))
                time.sleep(600)
            return {name: weight.abs() for name, weight in problem.parameters.items()}
    @hookimpl
    def synflow_bench_pruners():
        return {"waiting": Waiting}
"""
NO_WORKER = """
    import multiprocessing, os
    if multiprocessing.parent_process() is not None:
        {act}
    @hookimpl
    def synflow_bench_pruners():
        return {{}}
"""


@pytest.fixture
def flag(tmp_path: Path, distribution: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The flag of an installed pruner `waiting`, which is up."""
    flag = tmp_path / "flag"
    flag.touch()
    monkeypatch.setenv("WAITING_FLAG", str(flag))
    distribution("waiting-pruner", WAITING)
    return flag


@pytest.fixture
def run(store: Store, resources: Resources) -> Iterator[Callable[..., tuple[Plan, Summary]]]:
    """Plan and run cells with `workers`; `heard` are called with every record."""
    executors: list[LocalExecutor] = []

    def run(
        cells: list[Cell], hear: Callable[[Record], None] = lambda _: None, workers: int = 2
    ) -> tuple[Plan, Summary]:
        plan = make_plan(cells, Host.load(), store, resources.data_root)
        executor = LocalExecutor(replace(resources, workers=workers), lambda _cell, _epoch: None)
        executors.append(executor)
        return plan, run_plan(plan, store, executor, hear)

    yield run
    for executor in executors:
        executor.close()
    assert not multiprocessing.active_children(), "no worker outlives its run"


def killer(flag: Path) -> Callable[[Record], None]:
    """Kills the process that waits, once, and takes the flag down."""

    def kill(_: Record) -> None:
        while flag.exists():
            if written := flag.read_text():
                flag.unlink()
                os.kill(int(written), signal.SIGKILL)
            time.sleep(0.05)

    return kill


def test_a_killed_worker_costs_its_cell_only_and_a_later_run_repeats_only_that(
    flag: Path, make_cell: Callable[..., Cell], run: Callable[..., tuple[Plan, Summary]], store: Store
) -> None:
    killed = make_cell("waiting")
    cells = [killed, *(make_cell("random", seed=seed) for seed in range(4))]
    flag.write_text("die")

    _, summary = run(cells)
    flag.unlink()
    assert (summary.ok, summary.failed, summary.exit_code) == (4, 1, 1)
    record = store.get(killed)
    assert record is not None
    assert record.error is not None
    assert (record.status, record.error.kind) == ("failed", "WorkerDied")
    assert record.error.message == "the worker was killed by SIGKILL (out of memory?)"
    assert record.error.traceback is None
    before = {path: path.read_bytes() for path in store.paths()}

    plan, summary = run(cells)
    assert plan.missing == [killed]
    assert (summary.ok, summary.recorded, summary.exit_code) == (1, 4, 0)
    again = store.path(killed)
    assert {path: path.read_bytes() for path in store.paths() if path != again} == {
        path: text for path, text in before.items() if path != again
    }
    assert [path.read_bytes() for path in (store.root / "replaced").rglob("*.json")] == [before[again]]


def test_cells_that_ran_together_in_a_killed_worker_are_run_again_one_by_one(
    flag: Path, make_cell: Callable[..., Cell], run: Callable[..., tuple[Plan, Summary]], store: Store
) -> None:
    cells = [make_cell("waiting"), *(make_cell("random", seed=seed) for seed in range(3))]
    _, summary = run(cells, killer(flag))
    assert (summary.ok, summary.failed) == (4, 0)
    assert len(store.paths()) == 4


def test_workers_that_die_at_their_start_end_the_run_with_the_reason(
    distribution: Any, make_cell: Callable[..., Cell], run: Callable[..., tuple[Plan, Summary]], store: Store
) -> None:
    distribution("no-worker", NO_WORKER.format(act="os._exit(3)"))
    _, summary = run([make_cell(seed=seed) for seed in range(5)])
    reason = "the last one ended with exit code 3 before it began a cell"
    assert summary.stopped == f"no worker can start: {reason}"
    assert summary.exit_code == 1
    assert store.paths() == []


def test_a_worker_that_cannot_be_set_up_says_why(
    make_cell: Callable[..., Cell],
    run: Callable[..., tuple[Plan, Summary]],
    distribution: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    distribution(
        "breaks-torch", NO_WORKER.format(act="import torch; torch.set_num_threads = lambda _: 1 / 0")
    )
    _, summary = run([make_cell()], workers=1)
    assert summary.stopped is not None
    assert "ZeroDivisionError: division by zero" in summary.stopped


FIRST_DIES = NO_WORKER.format(
    act="""
        from pathlib import Path
        try:
            Path(os.environ["FIRST_DIES"]).unlink()
        except FileNotFoundError:
            pass
        else:
            os._exit(3)"""
)


def test_a_worker_that_dies_at_its_start_once_costs_no_cell(
    tmp_path: Path,
    distribution: Any,
    make_cell: Callable[..., Cell],
    run: Callable[..., tuple[Plan, Summary]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flag = tmp_path / "first"
    flag.touch()
    monkeypatch.setenv("FIRST_DIES", str(flag))
    distribution("first-dies", FIRST_DIES)
    _, summary = run([make_cell(seed=seed) for seed in range(2)], workers=1)
    assert not flag.exists()
    assert (summary.ok, summary.exit_code) == (2, 0)
