"""Executors agree: equal cells give bitwise equal records, wherever and in whatever order they run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch

from synflow_bench.errors import DeviceError, UsageError
from synflow_bench.execution import ExecutorFactory, Resources
from synflow_bench.execution.local import LocalExecutor
from synflow_bench.execution.serial import SerialExecutor
from synflow_bench.records import Epoch
from synflow_bench.suites import Cell

PRUNERS = ("dense", "random", "magnitude", "snip", "grasp", "synflow[rounds=3]")


def nobody(_cell: Cell, _epoch: Epoch) -> None: ...


def results(
    factory: ExecutorFactory, resources: Resources, cells: Iterable[Cell]
) -> dict[str, dict[str, Any]]:
    executor = factory(resources, nobody)
    try:
        for cell in cells:
            executor.submit(cell)
        return {record.key: record.result for record in executor.finished()}
    finally:
        executor.close()


@pytest.fixture
def cells(make_cell: Callable[..., Cell]) -> list[Cell]:
    return [make_cell(pruner, 1 if pruner == "dense" else 10, seed) for seed in (0, 1) for pruner in PRUNERS]


@pytest.fixture
def alone(resources: Resources) -> Resources:
    return replace(resources, workers=1)


def test_the_order_of_cells_does_not_change_records(cells: list[Cell], alone: Resources) -> None:
    there = results(SerialExecutor, alone, cells)
    back = results(SerialExecutor, alone, reversed(cells))
    assert len(there) == len(cells)
    assert all(result["status"] == "ok" for result in there.values())
    assert back == there


def test_two_workers_give_the_records_of_one_process(
    cells: list[Cell], alone: Resources, resources: Resources
) -> None:
    shuffled = cells[1::2] + cells[::2]
    assert results(LocalExecutor, resources, shuffled) == results(SerialExecutor, alone, cells)


@pytest.mark.slow
def test_three_workers_give_the_records_of_one_process(
    cells: list[Cell], alone: Resources, resources: Resources
) -> None:
    three = replace(resources, workers=3)
    assert results(LocalExecutor, three, reversed(cells)) == results(SerialExecutor, alone, cells)


def test_serial_tells_every_epoch_of_the_cell_that_runs(
    make_cell: Callable[..., Cell], alone: Resources
) -> None:
    heard: list[tuple[int, int]] = []
    executor = SerialExecutor(alone, lambda cell, epoch: heard.append((cell.seed, epoch.epoch)))
    for seed in (0, 1):
        executor.submit(make_cell(seed=seed))
    assert [record.cell.seed for record in executor.finished()] == [0, 1]
    assert heard == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_serial_leaves_the_generator_as_it_was(make_cell: Callable[..., Cell], alone: Resources) -> None:
    before = torch.get_rng_state()
    results(SerialExecutor, alone, [make_cell()])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_closed_executor_runs_nothing_and_may_be_closed_again(
    make_cell: Callable[..., Cell], resources: Resources, alone: Resources
) -> None:
    for executor in (SerialExecutor(alone, nobody), LocalExecutor(resources, nobody)):
        executor.submit(make_cell())
        executor.close()
        executor.close()
        assert list(executor.finished()) == []


def test_serial_refuses_workers(resources: Resources) -> None:
    with pytest.raises(UsageError, match="'serial' runs one cell at a time; leave out --workers 2"):
        SerialExecutor(resources, nobody)


@pytest.mark.parametrize("factory", [SerialExecutor, LocalExecutor])
@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("gpu", "unknown device 'gpu'; use auto, cpu, cuda, cuda:1 or mps"),
        ("cuda:77", "device 'cuda:77' is not on this machine; it has "),
    ],
)
def test_an_unknown_device_is_refused(
    alone: Resources, factory: ExecutorFactory, device: str, message: str
) -> None:
    with pytest.raises(DeviceError, match=message):
        factory(replace(alone, device=device), nobody)


def test_by_default_a_worker_has_as_many_cores_as_threads(
    resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synflow_bench.execution.local._usable_cores", lambda: 8)
    cores = {
        threads: LocalExecutor(replace(resources, workers=0, threads=threads), nobody).workers
        for threads in (1, 2, 3, 16)
    }
    assert cores == {1: 8, 2: 4, 3: 2, 16: 1}


def test_every_gpu_has_a_worker(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert LocalExecutor(replace(resources, workers=0, device="cuda"), nobody).workers == 3
    assert LocalExecutor(replace(resources, workers=0, device="cuda:1"), nobody).workers == 1
    assert LocalExecutor(replace(resources, workers=6, device="auto"), nobody).workers == 6
