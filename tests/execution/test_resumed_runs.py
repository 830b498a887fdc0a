"""Runs that were killed or stopped continue their cells, and leave no checkpoint behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors import safe_open

from synflow_bench.api import prepare
from synflow_bench.errors import UsageError
from synflow_bench.execution import Plan, Resources, SerialExecutor, run_plan, shared_cells
from synflow_bench.protocols import CellInterrupted, Checkpoints
from synflow_bench.records import Epoch, Store
from synflow_bench.suites import Cell, Recipe


@pytest.fixture
def cell(make_cell: Callable[..., Cell]) -> Cell:
    made = make_cell("snip")
    recipe = Recipe(**{**made.setting.recipe.model_dump(), "epochs": 4})
    return made.model_copy(update={"setting": made.setting.model_copy(update={"recipe": recipe})})


@pytest.fixture
def saving(resources: Resources, store: Store) -> Resources:
    checkpoints = Checkpoints.of(store.root, minutes=0, epochs=1)
    return replace(resources, workers=1, checkpoints=checkpoints)


def ends_at(epoch: int, error: BaseException) -> Callable[[Cell, Epoch], None]:
    def on_epoch(_: Cell, point: Epoch) -> None:
        if point.epoch == epoch:
            raise error

    return on_epoch


def run(cell: Cell, store: Store, given: Resources, on_epoch: Any = lambda *_: None, **plan: Any) -> Any:
    return run_plan(Plan([cell], missing=[cell], **plan), store, SerialExecutor(given, on_epoch))


def test_an_interrupted_run_continues_its_cell(
    cell: Cell, store: Store, saving: Resources, tmp_path: Path
) -> None:
    stop = ends_at(3, KeyboardInterrupt())
    assert run(cell, store, saving, stop).interrupted
    assert (store.root / "checkpoints").is_dir()
    assert run(cell, store, saving).ok == 1
    assert not (store.root / "checkpoints").exists()
    record, whole = store.get(cell), Store(tmp_path / "whole")
    run(cell, whole, replace(saving, checkpoints=None))
    plain = whole.get(cell)
    assert record is not None
    assert plain is not None
    assert record.result == plain.result
    assert record.provenance.resumed == 1
    assert '"resumed"' not in plain.to_json()


def test_a_forced_run_begins_anew(cell: Cell, store: Store, saving: Resources) -> None:
    run(cell, store, saving, ends_at(3, KeyboardInterrupt()))
    epochs: list[int] = []
    run(cell, store, saving, lambda _, point: epochs.append(point.epoch), forced=True)
    assert epochs == [0, 1, 2, 3, 4]


def test_a_cell_that_stops_itself_is_a_failure_and_does_not_interrupt_the_run(
    cell: Cell, store: Store, saving: Resources
) -> None:
    summary = run(cell, store, saving, ends_at(2, CellInterrupted()))
    assert (summary.interrupted, summary.failed, summary.exit_code) == (False, 1, 1)


def test_the_options_of_a_run_say_when_cells_are_saved(tmp_path: Path) -> None:
    def checkpoints(**given: Any) -> Checkpoints | None:
        return prepare("quick", results=tmp_path, data=tmp_path, seeds=1, **given).resources.checkpoints

    assert checkpoints() == Checkpoints(tmp_path / "checkpoints", minutes=10, epochs=0)
    both = checkpoints(checkpoint_minutes=0.5, checkpoint_epochs=3)
    assert both == Checkpoints(tmp_path / "checkpoints", minutes=0.5, epochs=3)
    assert checkpoints(checkpoint_minutes=0) is None


@pytest.mark.parametrize("minutes", [-1, float("nan"), float("inf"), "10", True, None])
def test_other_minutes_are_refused(minutes: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="checkpoint_minutes="):
        prepare("quick", results=tmp_path, data=tmp_path, checkpoint_minutes=minutes)


def test_a_forced_run_leaves_the_checkpoints_of_cells_that_another_run_computes(
    cell: Cell, store: Store, saving: Resources
) -> None:
    seen: list[int] = []

    def on_epoch(_: Cell, point: Epoch) -> None:
        before = sorted(store.root.glob("checkpoints/*/*"))
        with shared_cells(store, forced=True) as (other, _):
            assert not other.take(cell)
        assert sorted(store.root.glob("checkpoints/*/*")) == before
        seen.append(len(before))

    run(cell, store, saving, on_epoch)
    assert max(seen) == 1


def test_a_forced_run_that_goes_on_keeps_its_own_checkpoints(
    cell: Cell, store: Store, saving: Resources
) -> None:
    with shared_cells(store, forced=True) as (_, run_file):
        began = run_file.opened
    run(cell, store, saving, ends_at(3, KeyboardInterrupt()))
    with shared_cells(store, forced=True, since=began) as (requeued, _):
        assert requeued.take(cell)
    assert list(store.root.glob("checkpoints/*/*.safetensors"))
    with shared_cells(store, forced=True) as (later, _):
        assert later.take(cell)
    assert not list(store.root.glob("checkpoints/*"))


LONG = ["--pruner=snip", "--compression=10", "--seeds=1", "--epochs=60", "--set=recipe.batch_size=16"]
"""Two cells that train in one batch, for many times the second between two versions of the file of a run."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The results of a run from its beginning to its end."""
    folder = tmp_path_factory.mktemp("whole")
    done = subprocess.run([*command(folder)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return results_in(folder)


def command(folder: Path, *options: str) -> list[str]:
    start = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    start += "from synflow_bench.cli import main; sys.exit(main())"
    return [sys.executable, "-c", start, "run", *LONG, "--workers=1", "--results", str(folder), *options]


def results_in(folder: Path) -> list[dict[str, Any]]:
    return [record.result for record in sorted(Store(folder), key=lambda record: record.key)]


@pytest.mark.slow
def test_the_killed_command_continues_its_cells(tmp_path: Path, whole: list[dict[str, Any]]) -> None:
    given = command(tmp_path, "--checkpoint-epochs=1")
    killed = subprocess.Popen(given, start_new_session=True, stderr=subprocess.DEVNULL)
    while killed.poll() is None and not list(tmp_path.glob("checkpoints/*/*.safetensors")):
        time.sleep(0.05)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    check_the_next_run(tmp_path, given, whole)


@pytest.mark.slow
@pytest.mark.parametrize("end", ["SIGTERM", "SIGUSR1", "SIGINT"])
def test_the_stopped_command_saves_its_cells_and_continues_them(
    tmp_path: Path, whole: list[dict[str, Any]], in_training: Callable[..., int], end: str
) -> None:
    """No checkpoint was due: the signal is the reason for those that are there."""
    given = command(tmp_path)
    stopped = subprocess.Popen(given, start_new_session=True, stderr=subprocess.PIPE, text=True)
    before = in_training(stopped, tmp_path)
    assert not list(tmp_path.glob("checkpoints/*"))
    workers = psutil.Process(stopped.pid).children(recursive=True)
    for _ in range(2):  # batch systems repeat themselves
        os.kill(stopped.pid, getattr(signal, end))
        if end == "SIGINT":  # a second one ends the run at once
            break
    _, err = stopped.communicate(timeout=60)
    assert (stopped.returncode, "interrupted" in err) == (130, True)
    assert psutil.wait_procs(workers, timeout=5)[1] == []
    saved = list(tmp_path.glob("checkpoints/*/*.safetensors"))
    assert len(saved) == 2
    for path in saved:
        with safe_open(str(path), "pt") as opened:
            assert json.loads(opened.metadata()["state"])["position"]["epoch"] >= before
    check_the_next_run(tmp_path, given, whole)


def check_the_next_run(folder: Path, given: list[str], whole: list[dict[str, Any]]) -> None:
    again = subprocess.run(given, check=False, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert results_in(folder) == whole
    assert [record.provenance.resumed for record in Store(folder)] == [1, 1]
    assert not (folder / "checkpoints").exists()


@pytest.mark.slow
def test_a_worker_that_is_asked_to_stop_by_someone_else_loses_nothing_either(
    tmp_path: Path, whole: list[dict[str, Any]], in_training: Callable[..., int]
) -> None:
    run = subprocess.Popen(command(tmp_path), stderr=subprocess.PIPE, text=True)
    in_training(run, tmp_path)
    (server,) = (each for each in psutil.Process(run.pid).children() if each.children())
    for worker in server.children():
        worker.send_signal(signal.SIGUSR1)
    _, err = run.communicate(timeout=120)
    assert run.returncode == 0, err
    assert results_in(tmp_path) == whole
    assert [record.provenance.resumed for record in Store(tmp_path)] == [1, 1]
