"""Workers that share a GPU: how many, and what happens when its memory does not suffice."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from synflow_bench.errors import UsageError
from synflow_bench.execution import LocalExecutor, Resources, make_context, worker
from synflow_bench.execution import gpus as sharing
from synflow_bench.execution.gpus import CONTEXT, GpuSharing, MemoryUsed, trains_alone
from synflow_bench.execution.slot import WorkerSlot
from synflow_bench.host import PluginFile
from synflow_bench.records import Record
from synflow_bench.suites import Cell

MakeCell = Callable[..., Cell]
GIB = 1 << 30

OUT_OF_MEMORY = """
from pathlib import Path
import torch
from synflow_bench import Pruner, hookimpl

class Greedy(Pruner):
    needs_data = False
    def score(self, problem):
        tried = Path({tried!r})
        if {always} or not tried.exists():
            tried.write_text("once")
            raise torch.OutOfMemoryError("no memory is left")
        return {{name: weight.abs() for name, weight in problem.parameters.items()}}

@hookimpl
def synflow_bench_pruners():
    return {{"greedy": Greedy}}
"""


@pytest.fixture
def many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "usable_cores", lambda: 16)


def on(devices: int, *, workers: int = 0, threads: int = 1, **options: str) -> GpuSharing:
    return GpuSharing.of(options, [f"cuda:{index}" for index in range(devices)], threads, workers)


@pytest.mark.parametrize(
    ("devices", "threads", "options", "workers"),
    [(1, 1, {}, 4), (8, 1, {}, 2), (1, 8, {}, 2), (16, 4, {}, 1), (1, 1, {"cells_per_gpu": "2"}, 2)],
)
def test_a_gpu_has_as_many_workers_as_cores_and_user_allow(
    many_cores: None, devices: int, threads: int, options: dict[str, str], workers: int
) -> None:
    assert on(devices, threads=threads, **options).workers == workers


def test_another_worker_needs_room_for_what_one_has_used(many_cores: None) -> None:
    used = MemoryUsed(peak=2 * GIB, free=2 * GIB + 3 * GIB + CONTEXT)
    assert on(1).has_room(1, used)
    assert not on(1).has_room(4, used)
    assert not on(1).has_room(1, replace(used, free=used.free - 1))
    assert not on(1, workers=1).has_room(1, used)


def test_the_cells_of_a_gpu_are_divided_among_its_workers(many_cores: None) -> None:
    assert [on(1, cells_per_gpu="64").most_batched("cuda:0", workers) for workers in (1, 2, 4)] == [
        32,
        32,
        16,
    ]
    assert [on(1, cells_per_gpu="16").most_batched("cuda:0", workers) for workers in (1, 2)] == [1, 1]
    assert on(1, cells_per_gpu="2").most_batched("cuda:0", 4) == 1
    assert on(1).most_batched("cuda:0", 1) == 32


@pytest.mark.parametrize(
    ("options", "device", "alone"),
    [
        ({}, "cuda:0", False),
        ({"cells_per_gpu": "31"}, "cuda:0", True),
        ({"cells_per_gpu": "32"}, "cuda:0", False),
        ({}, "cpu", False),
    ],
)
def test_a_worker_that_may_have_no_whole_batch_trains_cells_alone(
    options: dict[str, str], device: str, alone: bool
) -> None:
    assert trains_alone(options, device) is alone


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5"])
def test_a_number_of_cells_is_from_1_on(text: str) -> None:
    with pytest.raises(UsageError, match=f"cells_per_gpu is '{text}'"):
        on(1, cells_per_gpu=text)


def test_without_a_gpu_the_option_is_refused(resources: Resources) -> None:
    limited = replace(resources, device="cpu", options={"cells_per_gpu": "2"})
    with pytest.raises(UsageError, match="--cells-per-gpu has no effect on device 'cpu'"):
        LocalExecutor(limited, lambda _cell, _epoch: None)


def test_memory_is_measured_on_gpus_only() -> None:
    assert MemoryUsed.of(torch.device("cpu")) is None


def greedy(resources: Resources, tmp_path: Path, make_cell: MakeCell, *, workers: int, always: bool) -> str:
    plugin = tmp_path / "greedy.py"
    plugin.write_text(OUT_OF_MEMORY.format(tried=str(tmp_path / "tried"), always=always), encoding="utf-8")
    place = replace(resources, device="cpu", workers=workers, plugins=(PluginFile.read(plugin),))
    executor = LocalExecutor(place, lambda _cell, _epoch: None)
    executor.submit(make_cell("greedy"))
    (record,) = executor.finished()
    executor.close()
    return record.status if record.error is None else record.error.kind


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "always", "end"),
    [(2, False, "ok"), (1, False, "OutOfMemoryError"), (2, True, "OutOfMemoryError")],
)
def test_a_cell_without_memory_beside_others_runs_once_more_alone(
    resources: Resources, tmp_path: Path, make_cell: MakeCell, workers: int, always: bool, end: str
) -> None:
    assert greedy(resources, tmp_path, make_cell, workers=workers, always=always) == end


@pytest.mark.slow
def test_a_worker_is_added_where_there_is_room(
    resources: Resources, make_cell: MakeCell, monkeypatch: pytest.MonkeyPatch, many_cores: None
) -> None:
    """The first worker measures a GPU, in the place of one that runs on the CPU."""
    executor = LocalExecutor(replace(resources, device="cpu", workers=1), lambda _cell, _epoch: None)
    monkeypatch.setattr(executor, "_sharing", on(1))
    received, messages = WorkerSlot.receive, [MemoryUsed(GIB, 9 * GIB)]
    monkeypatch.setattr(WorkerSlot, "receive", lambda slot: [messages.pop()] if messages else received(slot))
    for seed in range(3):
        executor.submit(make_cell(seed=seed))
    assert [record.status for record in executor.finished()] == ["ok"] * 3
    assert executor.workers == 2
    executor.close()


@pytest.mark.parametrize(("seeds", "records"), [(1, 1), (2, 0)])
def test_a_worker_whose_device_has_failed_sends_what_tells_which_cell_is_at_fault_and_ends(
    resources: Resources,
    make_cell: MakeCell,
    monkeypatch: pytest.MonkeyPatch,
    seeds: int,
    records: int,
) -> None:
    """Every later call of CUDA in the process fails. Of several cells each runs again alone."""

    def of(_: torch.device) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(worker.MemoryUsed, "of", of)
    run, end = multiprocessing.Pipe()
    run.send([make_cell(seed=seed) for seed in range(seeds)])
    with closing(make_context(resources, "cpu")) as context:
        worker._serve(end, context, worker._StopBySignal(end), None)
    end.close()
    messages = []
    with suppress(EOFError):
        while True:
            messages.append(run.recv())
    assert isinstance(messages[0], worker.CellsStarted)
    assert sum(isinstance(message, Record) for message in messages) == records
