"""Runs that keep masks and weights: whichever process runs a cell, its files belong to its record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from synflow_bench.errors import RecordError
from synflow_bench.execution import Executor, LocalExecutor, Plan, Resources, SerialExecutor, run_plan
from synflow_bench.execution.ray import NodeWorker, RayExecutor
from synflow_bench.protocols import Checkpoints, KeepFiles
from synflow_bench.records import KINDS, Epoch, Store, read_kept
from synflow_bench.suites import Cell, Recipe

MakeExecutor = Callable[..., Executor]


@pytest.fixture
def cell(make_cell: Callable[..., Cell]) -> Cell:
    made = make_cell("snip")
    recipe = Recipe(**{**made.setting.recipe.model_dump(), "epochs": 3})
    return made.model_copy(update={"setting": made.setting.model_copy(update={"recipe": recipe})})


def keeping(resources: Resources, folder: Path, **given: object) -> Resources:
    """Return resources of a run in `folder` that keeps both kinds of files."""
    return replace(resources, workers=1, results=folder, keep=KINDS, **given)  # type: ignore[arg-type]


def run(cells: list[Cell], given: Resources, make: MakeExecutor, on_epoch: object = None) -> Store:
    assert given.results is not None
    store = Store(given.results)
    run_plan(Plan(cells, missing=cells), store, make(given, on_epoch or (lambda *_: None)))
    return store


def kept(store: Store) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.records.rglob("*.safetensors")}


def check_belongings(store: Store) -> None:
    """Check that every record has both files, and that they name its content as it is on disk."""
    for record in store:
        assert record.sha256 is not None
        assert all(read_kept(record, store.path(record.cell), kind) for kind in KINDS)


def test_a_worker_keeps_the_files_that_a_run_in_this_process_keeps(
    make_cell: Callable[..., Cell], resources: Resources, tmp_path: Path
) -> None:
    cells = [make_cell(pruner, 10, seed) for pruner in ("snip", "magnitude") for seed in range(2)]
    serial = run(cells, keeping(resources, tmp_path / "serial"), SerialExecutor)
    local = run(cells, keeping(resources, tmp_path / "local"), LocalExecutor)
    check_belongings(serial)
    check_belongings(local)
    assert len(kept(serial)) == 2 * len(cells)
    assert kept(local) == kept(serial)


def test_a_cell_that_continues_from_a_checkpoint_keeps_the_same_files(
    cell: Cell, resources: Resources, tmp_path: Path
) -> None:
    def stop(_: Cell, point: Epoch) -> None:
        if point.epoch == 2:
            raise KeyboardInterrupt

    saved = Checkpoints.of(tmp_path / "resumed", minutes=0, epochs=1)
    given = keeping(resources, tmp_path / "resumed", checkpoints=saved)
    assert kept(run([cell], given, SerialExecutor, stop)) == {}
    resumed = run([cell], given, SerialExecutor)
    record = resumed.get(cell)
    assert record is not None
    assert record.provenance.resumed == 1
    check_belongings(resumed)
    assert kept(resumed) == kept(run([cell], keeping(resources, tmp_path / "whole"), SerialExecutor))


def test_a_cell_whose_files_cannot_be_written_fails_and_continues_later(
    cell: Cell, resources: Resources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = Checkpoints.of(tmp_path / "full", minutes=0, epochs=1)
    given = keeping(resources, tmp_path / "full", checkpoints=saved)

    def full(*_: object) -> None:
        raise RecordError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(KeepFiles, "__call__", full)
        record = run([cell], given, SerialExecutor).get(cell)
    assert record is not None
    assert (record.status, str(record.error)) == ("failed", "RecordError: the disk is full")
    store = run([cell], given, SerialExecutor)
    record = store.get(cell)
    assert record is not None
    assert (record.status, record.provenance.resumed) == ("ok", 1)
    check_belongings(store)


def test_a_node_without_the_results_folder_is_noticed(resources: Resources, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    assert NodeWorker(keeping(resources, tmp_path / "gone")).facts()["without"] == str(tmp_path / "gone")
    assert "without" not in NodeWorker(keeping(resources, tmp_path)).facts()
    assert "without" not in NodeWorker(replace(resources, results=tmp_path / "gone")).facts()


@pytest.mark.slow
def test_workers_of_a_cluster_keep_files(cell: Cell, resources: Resources, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    on_ray = run([cell], keeping(resources, tmp_path / "ray"), RayExecutor)
    check_belongings(on_ray)
    assert kept(on_ray) == kept(run([cell], keeping(resources, tmp_path / "alone"), SerialExecutor))
