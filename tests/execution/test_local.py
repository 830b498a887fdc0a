"""Worker processes: how they start, what they load, and what their death costs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import nbclient
import nbformat
import pytest

from synflow_bench.execution import LocalExecutor, Plan, Resources, Summary, make_plan, run_plan
from synflow_bench.execution.worker import WorkerSetup
from synflow_bench.host import Host
from synflow_bench.records import Record, Store
from synflow_bench.suites import Cell
from synflow_bench.training import main_module_hidden

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
    from synflow_bench import Pruner
    if multiprocessing.parent_process() is not None:
        {act}
    class Idle(Pruner):
        'Keeps large weights.'
        needs_data = False
        def score(self, problem):
            return {{name: weight.abs() for name, weight in problem.parameters.items()}}
    @hookimpl
    def synflow_bench_pruners():
        return {{"idle": Idle}}
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
    """Plan and run cells with `workers`; `reported` are called with every record."""
    executors: list[LocalExecutor] = []

    def run(
        cells: list[Cell], on_record: Callable[[Record], None] = lambda _: None, workers: int = 2
    ) -> tuple[Plan, Summary]:
        plan = make_plan(cells, Host.load(), store, resources.data_root)
        executor = LocalExecutor(replace(resources, workers=workers), lambda _cell, _epoch: None)
        executors.append(executor)
        return plan, run_plan(plan, store, executor, on_record)

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


@pytest.mark.slow
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
    assert record.error.message.startswith("the worker was killed by SIGKILL")
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


@pytest.mark.slow
def test_cells_of_one_batch_in_a_killed_worker_are_run_again_one_by_one(
    flag: Path, make_cell: Callable[..., Cell], run: Callable[..., tuple[Plan, Summary]], store: Store
) -> None:
    cells = [make_cell(name, seed=seed) for name in ("waiting", "random") for seed in range(3)]
    _, summary = run(cells, killer(flag))
    assert (summary.ok, summary.failed) == (6, 0)
    assert len(store.paths()) == 6


@pytest.mark.slow
def test_a_plugin_that_ends_its_workers_at_their_start_costs_its_own_cells(
    distribution: Any, make_cell: Callable[..., Cell], run: Callable[..., tuple[Plan, Summary]], store: Store
) -> None:
    distribution("no-worker", NO_WORKER.format(act="os._exit(3)"))
    idle = [make_cell("idle", seed=seed) for seed in range(3)]
    _, summary = run([*idle, make_cell("random")])
    assert (summary.ok, summary.failed, summary.stopped) == (1, 3, None)
    for cell in idle:
        record = store.get(cell)
        assert record is not None
        assert record.error is not None
        assert record.error.message == "the worker ended with exit code 3 before it began a cell"


@pytest.mark.slow
def test_workers_that_cannot_be_set_up_end_the_run_with_the_reason(
    make_cell: Callable[..., Cell],
    run: Callable[..., tuple[Plan, Summary]],
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("synflow_bench.execution.slot.WorkerSetup", NoDevice)
    _, summary = run([make_cell(seed=seed) for seed in range(3)])
    assert summary.stopped is not None
    assert "nowhere" in summary.stopped
    assert summary.exit_code == 1
    assert store.paths() == []


def NoDevice(resources: Resources, device: str, *more: Any) -> WorkerSetup:  # noqa: N802  it stands for a class
    """A worker for a device that no machine has."""
    return WorkerSetup(resources, "nowhere", *more)


@pytest.mark.slow
def test_a_worker_that_a_plugin_keeps_from_being_set_up_says_why(
    make_cell: Callable[..., Cell],
    run: Callable[..., tuple[Plan, Summary]],
    distribution: Any,
    store: Store,
) -> None:
    distribution(
        "breaks-torch", NO_WORKER.format(act="import torch; torch.set_num_threads = lambda _: 1 / 0")
    )
    run([make_cell("idle")], workers=1)
    record = store.get(make_cell("idle"))
    assert record is not None
    assert "ZeroDivisionError: division by zero" in str(record.error)


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


@pytest.mark.slow
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
    _, summary = run([make_cell("idle", seed=seed) for seed in range(2)], workers=1)
    assert not flag.exists()
    assert (summary.ok, summary.exit_code) == (2, 0)


CODE = """
import sys
from pathlib import Path
from synflow_bench.execution import Resources, make_context
from synflow_bench.protocols import run_cell
from synflow_bench.suites import Cell

recipe = {"epochs": 1, "optimizer": sys.argv[2], "lr": 0.01}
setting = {"dataset": "digits", "model": sys.argv[1], "recipe": recipe}
cell = Cell.model_validate({"setting": setting, "pruner": "synflow", "compression": 2, "seed": 0})
record = run_cell(cell, make_context(Resources(Path()), "cpu"))
assert record.status == "ok", record.error
print(*(name for name in ("torch._dynamo", "sympy", "triton") if name in sys.modules))
"""
TRIAL = """
import sys
from synflow_bench.host import Host
from synflow_bench.protocols import check_network
from synflow_bench.suites import Setting

host = Host.load()
for name in sys.argv[1:]:
    setting = Setting.model_validate({"dataset": "cifar10", "model": name, "recipe": {"epochs": 1}})
    check_network(host.models.get(name), setting, (3, 32, 32), 10)
print(*(name for name in ("torch._dynamo", "sympy", "triton") if name in sys.modules))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "optimizer"), [("fc", "adam"), ("conv", "momentum"), ("fc", "sgd"), ("fc", "rmsprop")]
)
def test_a_cell_does_not_load_the_compiler(model: str, optimizer: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", dedent(CODE), model, optimizer], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


@pytest.mark.slow
def test_trying_networks_before_a_run_does_not_load_it_either() -> None:
    names = ["fc", "conv", "lottery/resnet20", "lottery/vgg16-bn", "tinyimagenet/wide-resnet18"]
    done = subprocess.run(
        [sys.executable, "-c", dedent(TRIAL), *names], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


SCRIPT = """
from pathlib import Path
from synflow_bench.execution import LocalExecutor, Resources
from synflow_bench.suites import Cell

print("the script runs")
setting = {"dataset": "digits", "model": "fc", "recipe": {"epochs": 0}}
executor = LocalExecutor(Resources(Path("data"), "cpu", 1), lambda cell, epoch: None)
executor.submit(Cell.model_validate({"setting": setting, "pruner": "random", "compression": 2, "seed": 0}))
print(*(record.status for record in executor.finished()))
executor.close()
"""
"""A program without a `__main__` guard."""


def outcome_of(*arguments: str, given: str = "") -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, *arguments], input=given, capture_output=True, text=True, timeout=300
    )
    return done.stdout, done.stderr


def test_workers_do_not_run_the_users_script_again(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    assert outcome_of(str(script)) == ("the script runs\nok\n", "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "given"),
    [(["-"], SCRIPT), (["-c", SCRIPT], ""), (["-q", "-i"], f"exec({SCRIPT!r})\n")],
    ids=["standard input", "-c", "interpreter"],
)
def test_a_program_needs_no_file_of_its_own(arguments: list[str], given: str) -> None:
    out, err = outcome_of(*arguments, given=given)
    assert out == "the script runs\nok\n"
    assert "Error" not in err


@pytest.mark.slow
def test_a_notebook_runs_cells_too() -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SCRIPT)])
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    printed = "".join(output["text"] for output in notebook.cells[0].outputs if output["name"] == "stdout")
    assert printed == "the script runs\nok\n"


def test_the_main_module_is_there_again_after_a_start() -> None:
    main = sys.modules["__main__"]
    with main_module_hidden():
        assert sys.modules["__main__"] is not main
    assert sys.modules["__main__"] is main
