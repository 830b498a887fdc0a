"""Checks of a device: each runs on the CPU, which proves the check, and on a CUDA device where there is one.

The folder needs no other tests and nothing but pytest: the report of `benchmarks/bundle` takes it along.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from synflow_bench import Augmentation
from synflow_bench.execution import Resources, make_context
from synflow_bench.host import PluginFile
from synflow_bench.protocols import WorkerContext
from synflow_bench.suites import Cell, ModelSpec, PrunerSpec, Recipe, Setting
from synflow_bench.training import LoadedData, Normalization, ResidentSplit, process_restored, set_up_process
from synflow_bench.training import device as devices

LINES = os.environ.get("SYNFLOW_BENCH_TEST_LINES")
"""The file to which the outcome of every test is appended, for a report that may be cut off."""

CUDA = pytest.param(
    "cuda",
    marks=[
        pytest.mark.gpu,
        pytest.mark.skipif(
            not torch.cuda.is_available(), reason="needs a CUDA device; this machine has none"
        ),
    ],
)

EXPECTED_WARNINGS = (
    ".*deterministic",  # an operation has no deterministic algorithm; if bits differ, a test fails
    "Synchronization debug mode is a prototype",
    "Attempting to run cuBLAS, but there was no current CUDA context",
)
"""How warnings of torch begin that no test of this folder fails for."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let torch give warnings that are no fault."""
    for beginning in EXPECTED_WARNINGS:
        item.add_marker(pytest.mark.filterwarnings(f"default:{beginning}:UserWarning"))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Append the outcome of a test to the file."""
    if LINES and (report.when == "call" or report.outcome != "passed"):
        with Path(LINES).open("a", encoding="utf-8") as file:
            print(json.dumps({"test": report.nodeid, "outcome": report.outcome}), file=file)


@pytest.fixture(params=["cpu", CUDA])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """The device to check, with this process set up as a worker is."""
    monkeypatch.setattr(devices, "keep_freed_memory", lambda: True)  # it cannot be undone
    with process_restored():
        set_up_process(torch.device(request.param), 1)
        yield torch.device(request.param)


def split_of(count: int, seed: int, shape: tuple[int, int, int], device: torch.device) -> ResidentSplit:
    """Make noisy images of three classes, which a small network tells apart in most cases."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (count,), generator=draw)
    patterns = torch.randint(2, (3, *shape), generator=torch.Generator().manual_seed(9))
    noise = torch.randint(156, (count, *shape), generator=draw)
    images = (noise + 40 * patterns[labels]).to(torch.uint8)
    scale = torch.full((shape[0], 1, 1), 1 / 64, device=device)
    return ResidentSplit(
        images.to(device), labels.to(device), Normalization(scale, -1.5 * torch.ones_like(scale))
    )


def data_on(device: torch.device, shape: tuple[int, int, int] = (1, 8, 8)) -> LoadedData:
    """Make a dataset with augmentation, on the device."""
    training, test = split_of(330, 0, shape, device), split_of(200, 1, shape, device)
    return LoadedData(training, test, shape, 3, Augmentation(crop_padding=1, flip=True))


@pytest.fixture
def make_data() -> Callable[..., LoadedData]:
    """A factory of datasets: `make_data(device)`."""
    return data_on


@pytest.fixture
def context_on(tmp_path: Path) -> Callable[..., WorkerContext]:
    """A factory of the context of a worker with the dataset `patterns`: `context_on(device)`."""

    def context_on(device: torch.device, plugin: Path | None = None) -> WorkerContext:
        files = () if plugin is None else (PluginFile.read(plugin),)
        context = make_context(Resources(tmp_path, str(device), plugins=files), str(device))
        return context.with_data("patterns", data_on(device))

    return context_on


@pytest.fixture
def make_cell() -> Callable[..., Cell]:
    """A factory of cells on `patterns`: `make_cell("snip", model="conv", epochs=2)`."""

    def make_cell(pruner: str = "snip", *, model: str = "fc", seed: int = 0, **recipe: Any) -> Cell:
        chosen = {"epochs": 3, "optimizer": "adam", "lr": 1e-3, "batch_size": 64, **recipe}
        setting = Setting(dataset="patterns", model=ModelSpec(name=model), recipe=Recipe(**chosen))
        return Cell(setting=setting, pruner=PrunerSpec.model_validate(pruner), compression=10, seed=seed)

    return make_cell
