"""Cells of Fashion-MNIST with one epoch, in a run with two workers and as in most research code.

Five pruners at five compressions, Adam 1e-3, batch 64. The wall time of a cell in a run is that of the whole
run, including the start of the workers, over the number of cells. The parallel efficiency compares a run with
one worker and a run with two, without the start of the workers.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import pytest

from synflow_bench.execution import Resources
from synflow_bench.host import Host
from synflow_bench.suites import Cell, ModelSpec, PrunerSpec, Recipe, Setting

BASELINE = Path(__file__).with_name("conventional.py")
PRUNERS = ("random", "magnitude", "snip", "grasp", "synflow")
COMPRESSIONS = (2.0, 10.0, 50.0, 100.0, 500.0)


@dataclass(frozen=True)
class Board:
    """The cells of one network in one precision."""

    model: str
    precision: Literal["fp32", "bf16"]
    seeds: int

    def cells(self, compressions: Iterable[float] = COMPRESSIONS) -> list[Cell]:
        recipe = Recipe(epochs=1, optimizer="adam", lr=1e-3, batch_size=64, precision=self.precision)
        setting = Setting(dataset="fashion-mnist", model=ModelSpec(name=self.model), recipe=recipe)
        pruners = [PrunerSpec(name=name, label=name) for name in PRUNERS]
        return [
            Cell(setting=setting, pruner=pruner, compression=compression, seed=seed)
            for seed, compression, pruner in product(range(self.seeds), compressions, pruners)
        ]


BOARDS = [Board("fc", "fp32", 3), Board("conv", "fp32", 1), Board("conv", "bf16", 1)]


def run(cells: Iterable[Cell], data: Path, workers: int) -> list[float]:
    """Run `cells` on workers with one thread each, and return the times at which they ended."""
    executor = Host.load().executors.get("local")(
        Resources(data_root=data, device="cpu", workers=workers), lambda *_: None
    )
    for cell in cells:
        executor.submit(cell)
    ends = []
    for record in executor.finished():
        assert record.status == "ok", record.error
        ends.append(time.perf_counter())
    executor.close()
    return ends


@pytest.mark.benchmark(group="fashion-mnist cell")
@pytest.mark.parametrize("board", BOARDS, ids=lambda board: f"{board.model}, {board.precision}")
def bench_a_cell_of_a_run_with_two_workers(
    benchmark: Any, torchvision_root: Path, tmp_path: Path, board: Board, timed: bool
) -> None:
    cells = board.cells() if timed else board.cells()[-2:]
    ends = benchmark.pedantic(run, (cells, tmp_path, 2), rounds=1)
    assert len(ends) == len(cells)
    if timed:
        benchmark.extra_info["cells"] = len(cells)
        benchmark.extra_info["seconds_per_cell"] = benchmark.stats.stats.mean / len(cells)


@pytest.mark.benchmark(group="fashion-mnist cell")
@pytest.mark.parametrize("model", ["fc", "conv"])
def bench_a_conventional_cell_in_a_process_of_its_own(
    benchmark: Any, torchvision_root: Path, model: str, timed: bool
) -> None:
    if not timed and model == "conv":
        pytest.skip("half a minute of the same code as fc, which runs here")
    command = [sys.executable, str(BASELINE), str(torchvision_root), model]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = benchmark.pedantic(
        subprocess.run,
        (command,),
        {"check": True, "capture_output": True, "text": True, "env": environment},
        rounds=1,
    )
    assert float(done.stdout.split()[0]) > 0.5


@pytest.mark.benchmark(group="fashion-mnist, fc: parallel efficiency")
@pytest.mark.parametrize("workers", [1, 2])
def bench_cells_of_workers_that_have_started(
    benchmark: Any, torchvision_root: Path, tmp_path: Path, workers: int, timed: bool
) -> None:
    """Measure the seconds per equal cell after the first eight cells of each worker."""
    count = 48 * workers if timed else 1
    cells = Board("fc", "fp32", 20).cells([10.0])[:count]
    ends = benchmark.pedantic(run, (cells, tmp_path, workers), rounds=1)
    if timed:
        started = 8 * workers
        benchmark.extra_info["seconds_per_cell"] = (ends[-1] - ends[started - 1]) / (count - started)
