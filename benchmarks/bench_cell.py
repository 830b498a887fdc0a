"""One Fashion-MNIST cell: as one of many in a run with two workers, and as research code does it.

The wall time of a cell in a run is that of the whole run, workers' start included, over the number of cells.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from synflow_bench.execution import Resources
from synflow_bench.execution.local import LocalExecutor
from synflow_bench.suites import Cell, ModelSpec, PrunerSpec, Recipe, Setting

CELLS = 36
BASELINE = Path(__file__).with_name("conventional.py")


def cells() -> list[Cell]:
    recipe = Recipe(epochs=1, optimizer="adam", lr=1e-3, batch_size=64)
    setting = Setting(dataset="fashion-mnist", model=ModelSpec(name="fc"), recipe=recipe)
    pruner = PrunerSpec(name="synflow", label="synflow")
    return [Cell(setting=setting, pruner=pruner, compression=10, seed=seed) for seed in range(CELLS)]


def run_all(data: Path) -> list[float]:
    """Run every cell with two workers of one thread each, and return the accuracies."""
    executor = LocalExecutor(Resources(data_root=data, device="cpu", workers=2), lambda cell, epoch: None)
    for cell in cells():
        executor.submit(cell)
    records = list(executor.finished())
    executor.close()
    return [record.metrics.test_top1 for record in records if record.metrics]


@pytest.mark.benchmark(group="fashion-mnist cell")
def bench_a_cell_of_a_run_with_two_workers(
    benchmark: BenchmarkFixture, torchvision_root: Path, tmp_path: Path
) -> None:
    accuracies = benchmark.pedantic(run_all, (tmp_path,), rounds=1)
    benchmark.extra_info["cells"] = len(accuracies)
    benchmark.extra_info["seconds_a_cell"] = benchmark.stats.stats.mean / CELLS
    benchmark.extra_info["mean_top1"] = sum(accuracies) / CELLS
    assert len(accuracies) == CELLS


@pytest.mark.benchmark(group="fashion-mnist cell")
def bench_a_conventional_cell_in_a_process_of_its_own(
    benchmark: BenchmarkFixture, torchvision_root: Path
) -> None:
    command = [sys.executable, str(BASELINE), str(torchvision_root)]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = benchmark.pedantic(
        subprocess.run,
        (command,),
        {"check": True, "capture_output": True, "text": True, "env": environment},
        rounds=1,
    )
    benchmark.extra_info["seconds_a_cell"] = benchmark.stats.stats.mean
    benchmark.extra_info["mean_top1"] = float(done.stdout.split()[0])
