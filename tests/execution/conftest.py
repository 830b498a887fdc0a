"""Cells that take a fraction of a second, and a torch that is left as it was."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from synflow_bench.execution import Resources
from synflow_bench.host import Host
from synflow_bench.records import Store
from synflow_bench.runs import Runs
from synflow_bench.suites import Cell, PrunerSpec, Recipe, Setting

MakeCell = Callable[..., Cell]


@pytest.fixture(autouse=True)
def _torch_as_it_was(torch_as_it_was: None) -> None:
    """Every test here may run cells in this process."""


@pytest.fixture(scope="session")
def host() -> Host:
    return Host.load()


@pytest.fixture
def make_cell() -> MakeCell:
    """A cell of one epoch: `make_cell("snip", 10, seed=1)`."""

    def make_cell(
        pruner: str = "random", compression: float = 10, seed: int = 0, dataset: str = "digits"
    ) -> Cell:
        recipe = Recipe(epochs=1, optimizer="adam", lr=1e-3, batch_size=64)
        setting = Setting.model_validate({"dataset": dataset, "model": "fc", "recipe": recipe})
        spec = PrunerSpec.model_validate(pruner).model_copy(update={"label": pruner})
        return Cell(setting=setting, pruner=spec, compression=compression, seed=seed)

    return make_cell


@pytest.fixture
def in_training() -> Callable[..., int]:
    """Wait until a run has trained for some epochs, as it tells other terminals; return the epochs."""

    def in_training(run: subprocess.Popen[str], results: Path, epochs: int = 3) -> int:
        done, deadline = 0, time.monotonic() + 240
        while done < epochs:
            assert run.poll() is None, "the run ended before it was seen to train"
            assert time.monotonic() < deadline
            time.sleep(0.05)
            done = max((cell.epoch for state in Runs(results).states() for cell in state.running), default=0)
        return done

    return in_training


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def resources(tmp_path: Path) -> Resources:
    """Two workers on the CPU, and a data folder with nothing in it."""
    return Resources(data_root=tmp_path / "data", device="cpu", workers=2)
