"""Dispatch and collect: records are kept whatever ends the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from synflow_bench.errors import RecordError
from synflow_bench.execution import ExecutorError, Plan, Summary, run_plan
from synflow_bench.records import Record, Store, key_of
from synflow_bench.suites import Cell

End = Callable[[], BaseException]


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
def cells(make_cell: Callable[..., Cell]) -> list[Cell]:
    return [make_cell(seed=seed) for seed in range(3)]


@pytest.fixture
def records(cells: list[Cell], make_record: Callable[..., Record]) -> list[Record]:
    """One that is ok, one that failed, one that was skipped."""
    made = zip(cells, ("ok", "failed", "skipped"), strict=True)
    return [
        make_record(status=status).model_copy(update={"cell": cell, "key": key_of(cell)})
        for cell, status in made
    ]


def test_every_missing_cell_is_submitted_and_every_record_is_kept(
    cells: list[Cell], records: list[Record], store: Store
) -> None:
    executor = Scripted(records)
    summary = run_plan(Plan(cells, missing=cells), store, executor)
    assert executor.submitted == cells
    assert executor.closed
    assert [store.get(cell) for cell in cells] == records
    assert summary == Summary(ok=1, failed=1, recorded=0, skipped=1)


def test_a_record_is_on_disk_before_anyone_hears_of_it(
    cells: list[Cell], records: list[Record], store: Store
) -> None:
    def hear(record: Record) -> None:
        assert store.get(record.cell) == record

    run_plan(Plan(cells, missing=cells), store, Scripted(records), hear)


@pytest.mark.parametrize(
    ("end", "code"), [(KeyboardInterrupt(), 130), (ExecutorError("no worker can start"), 1)]
)
def test_what_had_finished_is_kept_when_the_run_ends_early(
    cells: list[Cell], records: list[Record], store: Store, end: BaseException, code: int
) -> None:
    executor = Scripted(records[:1], end)
    summary = run_plan(Plan(cells, missing=cells), store, executor)
    assert executor.closed
    assert store.get(cells[0]) == records[0]
    assert (summary.ok, summary.exit_code) == (1, code)
    assert summary.stopped == (str(end) or None)


def test_any_other_error_closes_the_executor_and_is_not_hidden(
    cells: list[Cell], records: list[Record], store: Store
) -> None:
    executor = Scripted(records[:1], ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        run_plan(Plan(cells, missing=cells), store, executor)
    assert executor.closed
    assert store.get(cells[0]) == records[0]


def test_a_folder_that_cannot_be_written_ends_the_run(
    cells: list[Cell], records: list[Record], store: Store
) -> None:
    store.root.write_text("a file")
    executor = Scripted(records)
    with pytest.raises(RecordError, match="cannot write"):
        run_plan(Plan(cells, missing=cells), store, executor)
    assert executor.closed


def test_an_unreadable_file_makes_room_and_is_kept(
    cells: list[Cell], records: list[Record], store: Store
) -> None:
    path = store.path(cells[0])
    path.parent.mkdir(parents=True)
    path.write_text("half a rec")
    run_plan(Plan(cells, missing=cells, unreadable={path: "it is half"}), store, Scripted(records))
    assert store.get(cells[0]) == records[0]
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
