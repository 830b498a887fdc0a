"""Cells on a device: repeatable records, memory that runs out, and a worker that is killed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from synflow_bench.execution import Resources
from synflow_bench.host import Host, PluginFile
from synflow_bench.protocols import (
    CellInterrupted,
    Checkpoints,
    WorkerContext,
    may_batch,
    run_cell,
    run_cells,
)
from synflow_bench.records import Epoch
from synflow_bench.suites import Cell
from synflow_bench.training import GpuAlgorithms, describe, make_repeatable

MakeCell = Callable[..., Cell]
ContextOn = Callable[..., WorkerContext]

PLUGIN = """
import os, signal
import torch
from synflow_bench import Augmentation, Dataset, Pruner, Split, Splits, hookimpl

class Kills(Pruner):
    needs_data = False
    def score(self, problem):
        torch.ones(1000, device=problem.device).sum()
        os.kill(os.getpid(), signal.SIGKILL)

class Large(Pruner):
    needs_data = False
    def score(self, problem):
        if problem.device.type == "cuda":
            torch.empty(1 << 50, dtype=torch.uint8, device=problem.device)
        raise torch.OutOfMemoryError("there is no memory left")

class Noise(Dataset):
    input_shape, num_classes, sizes, mean, std = (1, 8, 8), 3, (200, 50), (0.5,), (0.25,)
    def present(self, root):
        return True
    def load(self, root, *, download=False):
        draw = torch.Generator().manual_seed(0)
        images = [torch.randint(256, (n, 1, 8, 8), dtype=torch.uint8, generator=draw) for n in self.sizes]
        return Splits(*(Split(each, torch.arange(len(each)) % 3) for each in images))

@hookimpl
def synflow_bench_pruners():
    return {"kills": Kills, "large": Large}

@hookimpl
def synflow_bench_datasets():
    return {"noise": Noise}
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "faults.py"
    path.write_text(PLUGIN, encoding="utf-8")
    return path


@pytest.mark.parametrize("model", ["fc", "conv"])
def test_two_runs_of_a_cell_are_equal_to_the_bit(
    model: str, device: torch.device, context_on: ContextOn, make_cell: MakeCell
) -> None:
    first, second = (run_cell(make_cell("synflow", model=model), context_on(device)) for _ in range(2))
    assert first.status == "ok", first.error
    assert (first.result, first.masks) == (second.result, second.masks)


def test_a_device_needs_no_index(device: torch.device) -> None:
    assert device.index is None
    make_repeatable(device, 1)
    assert torch.ones(3, device=device).sum().item() == 3


def test_the_record_says_what_its_bits_depend_on(
    device: torch.device, context_on: ContextOn, make_cell: MakeCell
) -> None:
    made = run_cell(make_cell("magnitude"), context_on(device)).provenance
    if device.type == "cuda":
        assert made.device == describe(device)
        chosen = {name: str(value) for name, value in vars(GpuAlgorithms()).items()}
        assert made.algorithms == chosen
    else:
        assert made.algorithms == {}


def test_without_memory_a_cell_fails_with_advice_and_the_next_one_runs(
    device: torch.device, context_on: ContextOn, make_cell: MakeCell, plugin: Path
) -> None:
    context = context_on(device, plugin)
    failed, ok = (run_cell(make_cell(pruner), context) for pruner in ("large", "snip"))
    assert failed.error is not None
    assert (failed.status, failed.error.kind, failed.error.traceback) == ("failed", "OutOfMemoryError", None)
    assert "fewer cells at a time" in failed.error.message
    assert ok.status == "ok", ok.error


def test_cells_of_one_setting_get_the_records_that_they_get_alone(
    device: torch.device, context_on: ContextOn, make_cell: MakeCell
) -> None:
    cells = [make_cell("snip", seed=seed) for seed in range(3)]
    together = run_cells(cells, context_on(device), lambda _cell, _epoch: None)
    alone = [run_cell(cell, context_on(device)) for cell in cells]
    assert [record.status for record in together] == ["ok"] * 3
    for one, other in zip(together, alone, strict=True):
        assert one.masks == other.masks
        assert one.metrics is not None
        assert other.metrics is not None
        close = {"cpu": 0.0, "cuda": 0.02}[device.type]
        assert one.metrics.test_top1 == pytest.approx(other.metrics.test_top1, abs=close)


@pytest.mark.parametrize("model", ["fc", "conv"])
def test_stopped_cells_continue_to_the_same_bits(
    model: str, device: torch.device, context_on: ContextOn, make_cell: MakeCell, tmp_path: Path
) -> None:
    cells = [make_cell("magnitude", model=model, seed=seed) for seed in range(3)]
    cells = cells if may_batch(cells[0], context_on(device)) else cells[:1]
    assert len(cells) == 3 or model == "conv"
    whole = run_cells(cells, context_on(device), lambda _cell, _epoch: None)
    checkpoints = Checkpoints.of(tmp_path)
    stopped, continued = (replace(context_on(device), checkpoints=checkpoints) for _ in range(2))

    def stop(_: Cell, epoch: Epoch) -> None:
        if epoch.epoch == 2:
            stopped.stop.request()

    with pytest.raises(CellInterrupted):
        run_cells(cells, stopped, stop)
    for one, other in zip(whole, run_cells(cells, continued, lambda _cell, _epoch: None), strict=True):
        assert other.status == "ok", other.error
        assert (other.provenance.resumed, other.provenance.warnings) == (1, ())
        assert (other.result, other.masks) == (one.result, one.masks)
        assert other.provenance.engine == one.provenance.engine


def killed_worker(device: str, plugin: Path, tmp_path: Path, make_cell: MakeCell) -> None:
    place = Resources(tmp_path, device, 1, plugins=(PluginFile.read(plugin),))
    executor = Host.load().executors.get("local")(place, lambda _cell, _epoch: None)
    for pruner in ("kills", "magnitude"):
        cell = make_cell(pruner, epochs=1)
        executor.submit(
            cell.model_copy(update={"setting": cell.setting.model_copy(update={"dataset": "noise"})})
        )
    records = {record.cell.pruner.name: record for record in executor.finished()}
    executor.close()
    assert records["magnitude"].status == "ok", records["magnitude"].error
    assert records["kills"].error is not None
    assert records["kills"].error.kind == "WorkerDied"


@pytest.mark.slow
def test_a_killed_worker_costs_its_cell_only(plugin: Path, tmp_path: Path, make_cell: MakeCell) -> None:
    killed_worker("cpu", plugin, tmp_path, make_cell)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; this machine has none")
def test_a_worker_killed_on_a_gpu_costs_its_cell_only(
    plugin: Path, tmp_path: Path, make_cell: MakeCell
) -> None:
    killed_worker("cuda", plugin, tmp_path, make_cell)
