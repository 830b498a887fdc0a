"""Executors agree to the bit, and a run keeps its records whatever ends it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from synflow_bench.errors import DeviceError, RecordError, UsageError
from synflow_bench.execution import (
    DetachedError,
    Executor,
    ExecutorError,
    ExecutorFactory,
    LocalExecutor,
    Plan,
    Resources,
    SerialExecutor,
    Summary,
    run_plan,
    shared_cells,
)
from synflow_bench.records import Epoch, Failure, Record, Store, key_of
from synflow_bench.signals import SignalInterrupt
from synflow_bench.suites import Cell
from synflow_bench.training import MAX_BATCHED

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


def test_serial_reports_every_epoch_of_the_cell_that_runs(
    make_cell: Callable[..., Cell], alone: Resources
) -> None:
    reported: list[tuple[int, int]] = []
    executor = SerialExecutor(alone, lambda cell, epoch: reported.append((cell.seed, epoch.epoch)))
    for seed in (0, 1):
        executor.submit(make_cell(seed=seed))
    assert [record.cell.seed for record in executor.finished()] == [0, 1]
    assert reported == [(0, 0), (0, 1), (1, 0), (1, 1)]


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
    with pytest.raises(UsageError, match="'serial' runs one cell at a time; ask for 1 worker, not 2"):
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
    monkeypatch.setattr("synflow_bench.execution.executor.usable_cores", lambda: 8)
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


class Scripted:
    """An executor that gives prepared records, then raises `end` if there is one."""

    workers = 1

    def __init__(self, records: list[Record], end: BaseException | None = None) -> None:
        self.records, self.end = records, end
        self.submitted: list[Cell] = []
        self.closed = False

    def submit(self, cell: Cell) -> None:
        self.submitted.append(cell)

    def finished(self) -> Iterator[Record]:
        yield from self.records
        if self.end:
            raise self.end

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def planned(make_cell: Callable[..., Cell]) -> list[Cell]:
    return [make_cell(seed=seed) for seed in range(3)]


@pytest.fixture
def records(planned: list[Cell], make_record: Callable[..., Record]) -> list[Record]:
    """One that is ok, one that failed, one that was skipped."""
    made = zip(planned, ("ok", "failed", "skipped"), strict=True)
    return [
        make_record(status=status).model_copy(update={"cell": cell, "key": key_of(cell)}).sealed()
        for cell, status in made
    ]


def test_every_missing_cell_is_submitted_and_every_record_is_kept(
    planned: list[Cell], records: list[Record], store: Store
) -> None:
    executor = Scripted(records)
    summary = run_plan(Plan(planned, missing=planned), store, executor)
    assert executor.submitted == planned
    assert executor.closed
    assert [store.get(cell) for cell in planned] == records
    assert summary == Summary(ok=1, failed=1, recorded=0, skipped=1)


def test_a_cell_whose_method_is_not_defined_is_no_failure(
    planned: list[Cell], records: list[Record], store: Store
) -> None:
    ok, _, skipped = records
    failure = Failure(kind="NotDefinedError", message="not defined here: it needs convolutions")
    ended = [ok, skipped.model_copy(update={"error": failure})]
    summary = run_plan(Plan(planned, missing=planned), store, Scripted(ended))
    assert summary == Summary(ok=2, failed=0, recorded=0, skipped=0, not_defined=1)
    assert summary.exit_code == 0


def test_a_record_is_on_disk_before_it_is_reported(
    planned: list[Cell], records: list[Record], store: Store
) -> None:
    def on_record(record: Record) -> None:
        assert store.get(record.cell) == record

    run_plan(Plan(planned, missing=planned), store, Scripted(records), on_record)


@pytest.mark.parametrize(
    ("end", "code"), [(KeyboardInterrupt(), 130), (ExecutorError("no worker can start"), 1)]
)
def test_what_had_finished_is_kept_when_the_run_ends_early(
    planned: list[Cell], records: list[Record], store: Store, end: BaseException, code: int
) -> None:
    executor = Scripted(records[:1], end)
    summary = run_plan(Plan(planned, missing=planned), store, executor)
    assert executor.closed
    assert store.get(planned[0]) == records[0]
    assert (summary.ok, summary.exit_code) == (1, code)
    assert summary.stopped == (str(end) or None)


def test_any_other_error_closes_the_executor_and_is_not_hidden(
    planned: list[Cell], records: list[Record], store: Store
) -> None:
    executor = Scripted(records[:1], ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        run_plan(Plan(planned, missing=planned), store, executor)
    assert executor.closed
    assert store.get(planned[0]) == records[0]


def test_a_folder_that_cannot_be_written_ends_the_run(
    planned: list[Cell], records: list[Record], store: Store
) -> None:
    store.root.write_text("a file")
    executor = Scripted(records)
    with pytest.raises(RecordError, match="cannot write"):
        run_plan(Plan(planned, missing=planned), store, executor)
    assert executor.closed


def test_an_unreadable_file_makes_room_and_is_kept(
    planned: list[Cell], records: list[Record], store: Store
) -> None:
    path = store.path(planned[0])
    path.parent.mkdir(parents=True)
    path.write_text("half a rec")
    run_plan(Plan(planned, missing=planned, unreadable={path: "it is half"}), store, Scripted(records))
    assert store.get(planned[0]) == records[0]
    assert [kept.read_text() for kept in Path(store.root / "replaced").rglob("*.json")] == ["half a rec"]


@pytest.mark.parametrize(
    ("summary", "code"),
    [
        (Summary(ok=1, failed=0, recorded=2, skipped=0), 0),
        (Summary(ok=0, failed=0, recorded=0, skipped=0), 0),
        (Summary(ok=1, failed=1, recorded=2, skipped=0), 1),
        (Summary(ok=1, failed=0, recorded=2, skipped=1), 1),
        (Summary(ok=1, failed=0, recorded=2, skipped=0, stopped="no worker"), 1),
        (Summary(ok=1, failed=1, recorded=2, skipped=1, interrupted=True), 130),
    ],
)
def test_the_exit_code_says_how_it_ended(summary: Summary, code: int) -> None:
    assert summary.exit_code == code


def test_a_cell_that_is_submitted_while_others_run_is_run_too(
    make_cell: Callable[..., Cell], alone: Resources
) -> None:
    """As a run would do that tries failed cells again."""
    executor = SerialExecutor(alone, nobody)
    executor.submit(make_cell(seed=0))
    seeds = []
    for record in executor.finished():
        seeds.append(record.cell.seed)
        if record.cell.seed == 0:
            executor.submit(make_cell(seed=1))
    assert seeds == [0, 1]


def test_an_executor_says_how_many_networks_it_trains_in_one_batch(
    resources: Resources, alone: Resources
) -> None:
    class Plain(Executor):
        """One of a third party, which says nothing of batches."""

    assert Plain.max_batched == SerialExecutor(alone, nobody).max_batched == 1
    assert LocalExecutor(resources, nobody).max_batched == MAX_BATCHED


@pytest.mark.parametrize(
    "error", [OSError(11, "Resource temporarily unavailable"), TypeError("cannot pickle")]
)
def test_a_worker_process_that_cannot_start_ends_the_run_in_one_line(
    planned: list[Cell],
    store: Store,
    resources: Resources,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr("multiprocessing.context.SpawnProcess._Popen", refuse)
    executor = LocalExecutor(resources, nobody)
    summary = run_plan(Plan(planned, missing=planned), store, executor)
    assert (summary.ok, summary.exit_code) == (0, 1)
    assert summary.stopped is not None
    assert type(error).__name__ in summary.stopped
    assert "\n" not in summary.stopped
    executor.close()


def test_a_run_ends_after_as_many_failures_as_are_allowed(
    planned: list[Cell], records: list[Record], store: Store
) -> None:
    executor = Scripted([records[1], records[0]])
    summary = run_plan(Plan(planned, missing=planned), store, executor, max_failures=1)
    assert executor.closed
    assert (summary.ok, summary.failed, summary.exit_code) == (0, 1, 1)
    assert summary.stopped is not None
    assert "--max-failures" in summary.stopped
    assert run_plan(Plan(planned, missing=planned), store, Scripted(records), max_failures=2).stopped is None


def test_failures_that_other_runs_record_count_too(
    planned: list[Cell], records: list[Record], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synflow_bench.execution.executor.POLL", 0.01)
    with shared_cells(store) as (other, _):
        assert all(map(other.take, planned))

        class Waiting(Scripted):
            def finished(self) -> Iterator[Record]:
                other.keep(records[1])
                yield from super().finished()

        summary = run_plan(Plan(planned, missing=planned), store, Waiting([]), max_failures=1)
    assert (summary.ok, summary.failed, summary.exit_code) == (0, 1, 1)
    assert "--max-failures" in str(summary.stopped)


def test_a_run_that_leaves_its_cells_to_jobs_ends_well(planned: list[Cell], store: Store) -> None:
    summary = run_plan(Plan(planned, missing=planned), store, Scripted([], DetachedError("job 4711")))
    assert (summary.detached, summary.stopped, summary.exit_code) == ("job 4711", None, 0)


@pytest.mark.parametrize(
    ("error", "by"), [(SignalInterrupt("by SIGTERM"), "by SIGTERM"), (KeyboardInterrupt(), None)]
)
def test_an_interrupt_by_a_signal_is_named(
    planned: list[Cell], store: Store, error: BaseException, by: str | None
) -> None:
    summary = run_plan(Plan(planned, missing=planned), store, Scripted([], error))
    assert (summary.interrupted, summary.stopped, summary.exit_code) == (True, by, 130)
