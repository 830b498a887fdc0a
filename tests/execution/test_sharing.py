"""Runs that share a results folder: they divide its cells, and none is lost when one of them ends."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from synflow_bench.execution import CellClaims, Plan, Summary, executor, run_plan, shared_cells
from synflow_bench.execution.claims import ClaimFolder
from synflow_bench.records import Record, Store, key_of
from synflow_bench.runs import LEASE, RunFile
from synflow_bench.suites import Cell

MakeCell = Callable[..., Cell]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "POLL", 0.01)


@pytest.fixture
def cells(make_cell: MakeCell) -> list[Cell]:
    return [make_cell(seed=seed) for seed in range(6)]


@pytest.fixture
def record_of(make_record: Callable[..., Record]) -> Callable[..., Record]:
    def record_of(cell: Cell, status: str = "ok") -> Record:
        return make_record(status=status).model_copy(update={"cell": cell, "key": key_of(cell)})

    return record_of


class Instant:
    """An executor with one worker, which asks for each cell before it starts it."""

    workers = 1

    def __init__(self, record_of: Callable[[Cell], Record], started: Callable[[Cell], object]) -> None:
        self.claims = CellClaims()
        self._record_of, self._started = record_of, started
        self._queue: deque[Cell] = deque()

    def submit(self, cell: Cell) -> None:
        self._queue.append(cell)

    def finished(self) -> Iterator[Record]:
        while self._queue:
            cell = self._queue.popleft()
            if self.claims.take(cell):
                self._started(cell)
                yield self._record_of(cell)

    def close(self) -> None:
        self._queue.clear()


class ClaimsAll(Instant):
    """An executor of a third party, which knows nothing of claims."""

    def __init__(self, record_of: Callable[[Cell], Record], started: Callable[[Cell], object]) -> None:
        super().__init__(record_of, started)
        del self.claims

    def finished(self) -> Iterator[Record]:
        while self._queue:
            cell = self._queue.popleft()
            self._started(cell)
            yield self._record_of(cell)


class LivingRun:
    """Another run, in this process, that owns the cells which it is given."""

    def __init__(self, root: Path, file: RunFile) -> None:
        self.file = file
        self.claims = ClaimFolder(root, file.name, lambda *_: True)


@contextmanager
def living_run(store: Store, *cells: Cell) -> Iterator[LivingRun]:
    with RunFile(store.root).open() as file:
        run = LivingRun(store.root, file)
        for cell in cells:
            assert run.claims.take(key_of(cell))
        yield run


def dead_run(store: Store, *cells: Cell, **fields: object) -> ClaimFolder:
    """A run that was killed while it owned cells."""
    file = RunFile(store.root)
    file.show(lambda state: state.model_copy(update={"pid": 2**22 + 1, "process_started": 1, **fields}))
    with file.open():
        content = file.path.read_bytes()
    file.path.write_bytes(content)
    claims = ClaimFolder(store.root, file.name, lambda *_: True)
    assert all(claims.take(key_of(cell)) for cell in cells)
    return claims


def run_alone(
    cells: list[Cell],
    store: Store,
    record_of: Callable[[Cell], Record],
    kind: type[Instant] = Instant,
    *,
    forced: bool = False,
) -> tuple[Summary, list[Cell]]:
    started: list[Cell] = []
    plan = Plan(cells, missing=cells, forced=forced)
    return run_plan(plan, store, kind(record_of, started.append)), started


@pytest.mark.parametrize("kind", [Instant, ClaimsAll])
def test_runs_divide_the_cells_and_each_sees_all_records(
    make_cell: MakeCell, store: Store, record_of: Callable[..., Record], kind: type[Instant]
) -> None:
    cells = [make_cell(seed=seed) for seed in range(40)]
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda _: run_alone(cells, store, record_of, kind), range(4)))
    started = Counter(key_of(cell) for _, cells in runs for cell in cells)
    assert started == Counter(map(key_of, cells))
    assert [summary.ok + summary.elsewhere for summary, _ in runs] == [40] * 4
    assert sum(summary.ok for summary, _ in runs) == 40
    assert {summary.exit_code for summary, _ in runs} == {0}
    assert all(store.get(cell) for cell in cells)


def test_nothing_is_left_but_records(
    cells: list[Cell], store: Store, record_of: Callable[..., Record]
) -> None:
    dead_run(store, *cells[:2])
    run_alone(cells, store, record_of)
    left = [path for path in store.root.rglob("*") if path.is_file() and store.records not in path.parents]
    assert {path.name for path in left} <= {"store.json", ".lock"}
    assert list((store.root / "claims").iterdir()) == []


def test_the_cells_of_a_killed_run_on_this_machine_are_taken_over_at_once(
    cells: list[Cell], store: Store, record_of: Callable[..., Record]
) -> None:
    dead_run(store, *cells)
    summary, started = run_alone(cells, store, record_of)
    assert started == cells
    assert (summary.ok, summary.elsewhere) == (6, 0)


def test_those_of_a_silent_run_on_another_machine_are_taken_over_after_the_lease(
    cells: list[Cell], store: Store, record_of: Callable[..., Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synflow_bench.runs.LEASE", 0.5)
    monkeypatch.setattr("synflow_bench.execution.claims.CHECK", 0.05)
    monkeypatch.setattr("synflow_bench.execution.claims.WATCHED", 0.1)
    assert LEASE > 60
    begin = time.monotonic()
    dead_run(store, *cells[:3], machine="another machine")
    summary, started = run_alone(cells, store, record_of)
    assert started[:3] == cells[3:]
    assert sorted(cell.seed for cell in started[3:]) == [0, 1, 2]
    assert time.monotonic() - begin > 0.4
    assert summary.ok == 6


def test_cells_of_a_living_run_are_waited_for(
    cells: list[Cell], store: Store, record_of: Callable[..., Record]
) -> None:
    with living_run(store, *cells[:2]) as other:

        def finish() -> None:
            store.put(record_of(cells[0]))
            store.put(record_of(cells[1], "failed"))
            for cell in cells[:2]:
                other.claims.release(key_of(cell))

        timer = threading.Timer(0.3, finish)
        timer.start()
        summary, started = run_alone(cells, store, record_of)
        timer.join()
    assert started == cells[2:]
    assert (summary.ok, summary.elsewhere, summary.failed, summary.exit_code) == (4, 1, 1, 1)


@pytest.mark.parametrize("kind", [Instant, ClaimsAll])
def test_cells_that_a_living_run_gives_back_are_run(
    cells: list[Cell], store: Store, record_of: Callable[..., Record], kind: type[Instant]
) -> None:
    """As it does when the user interrupts it."""
    with living_run(store, *cells[:2]) as other:
        timer = threading.Timer(0.3, other.claims.close)
        timer.start()
        summary, started = run_alone(cells, store, record_of, kind)
        timer.join()
    assert started[:4] == cells[2:]
    assert sorted(cell.seed for cell in started[4:]) == [0, 1]
    assert summary.ok == 6


def test_a_skipped_record_of_another_run_is_no_reason_to_skip_the_cell(
    cells: list[Cell], store: Store, record_of: Callable[..., Record]
) -> None:
    """The dataset that is missing there may be here."""
    with shared_cells(store) as (shared, _):
        store.put(record_of(cells[0], "skipped"))
        assert shared.take(cells[0])


def test_a_cell_that_was_recorded_since_the_plan_was_made_is_not_run(
    cells: list[Cell], store: Store, record_of: Callable[..., Record]
) -> None:
    store.put(record_of(cells[0]))
    summary, started = run_alone(cells, store, record_of)
    assert started == cells[1:]
    assert (summary.ok, summary.elsewhere) == (5, 1)


def test_a_failed_cell_of_an_earlier_run_is_tried_again_but_not_one_of_a_run_beside_it(
    cells: list[Cell], store: Store, record_of: Callable[..., Record]
) -> None:
    store.put(record_of(cells[0], "failed"))
    time.sleep(0.02)  # the clock of a file system has ticks
    with shared_cells(store) as (shared, _):
        store.put(record_of(cells[1], "failed"))
        assert shared.take(cells[0])
        assert not shared.take(cells[1])
        assert [record.cell for record in shared.found()] == [cells[1]]
        assert shared.found() == []


def test_two_runs_that_force_all_cells_run_each_once(
    cells: list[Cell], store: Store, record_of: Callable[..., Record]
) -> None:
    for cell in cells:
        store.put(record_of(cell))
    time.sleep(0.02)
    both_are_open = threading.Barrier(2)

    def run(_: int) -> list[Cell]:
        started: list[Cell] = []
        with shared_cells(store, forced=True) as (shared, _file):
            both_are_open.wait()
            plan = Plan(cells, missing=cells, forced=True)
            run_plan(plan, store, Instant(record_of, started.append), lambda _: None, shared)
        return started

    with ThreadPoolExecutor(2) as pool:
        started = [cell for cells in pool.map(run, range(2)) for cell in cells]
    assert Counter(map(key_of, started)) == Counter(map(key_of, cells))


def test_a_record_that_comes_late_does_not_replace_one_of_the_run_that_took_over(
    cells: list[Cell], store: Store, record_of: Callable[..., Record]
) -> None:
    """This run was stopped for so long that another one has computed its cell."""
    with shared_cells(store) as (late, file):
        assert late.take(cells[0])
        fast = ClaimFolder(store.root, "fast", lambda run, _: run != file.name)
        assert fast.take(key_of(cells[0]))
        store.put(record_of(cells[0]))
        before = store.path(cells[0]).read_bytes()
        assert not late.keep(record_of(cells[0], "failed"))
        assert store.path(cells[0]).read_bytes() == before
        assert [record.status for record in late.found()] == ["ok"]


def test_a_late_record_is_kept_where_there_is_no_other(
    cells: list[Cell], store: Store, record_of: Callable[..., Record]
) -> None:
    with shared_cells(store) as (late, file):
        assert late.take(cells[0])
        assert ClaimFolder(store.root, "fast", lambda run, _: run != file.name).take(key_of(cells[0]))
        assert late.keep(record_of(cells[0]))
    assert store.get(cells[0])


def test_a_cell_that_is_given_back_may_be_taken_by_others_and_again(cells: list[Cell], store: Store) -> None:
    other = ClaimFolder(store.root, "other", lambda *_: True)
    with shared_cells(store) as (shared, _):
        returned: list[Cell] = []
        shared.on_return = returned.append
        assert shared.take(cells[0])
        assert not other.take(key_of(cells[0]))
        shared.give_back(cells[0])
        assert returned == [cells[0]]
        assert shared.take(cells[0])
        shared.give_back(cells[0])
        assert other.take(key_of(cells[0]))


def test_other_runs_are_named_once(cells: list[Cell], store: Store) -> None:
    named: list[str] = []
    dead_run(store)
    with living_run(store, cells[0]) as one, living_run(store) as two, shared_cells(store) as (shared, _):
        shared.on_neighbor = named.append
        shared.name_others()
        assert named == ["; ".join(sorted((one.file.state.title, two.file.state.title)))]
        with living_run(store, cells[1]) as three:
            assert [shared.take(cell) for cell in cells[:2]] == [False, False]
            shared.take(cells[1])
            assert named[1:] == [three.file.state.title]


def test_claims_without_other_runs_take_every_cell(cells: list[Cell]) -> None:
    claims = CellClaims()
    assert claims.take(cells[0])
    claims.give_back(cells[0])
    assert claims.take(cells[0])


def test_an_interrupted_run_releases_its_cells(
    cells: list[Cell], store: Store, record_of: Callable[..., Record]
) -> None:
    def interrupt(cell: Cell) -> Record:
        if cell.seed == 1:
            raise KeyboardInterrupt
        return record_of(cell)

    summary, _ = run_alone(cells, store, interrupt)
    assert (summary.interrupted, summary.ok) == (True, 1)
    assert list((store.root / "claims").iterdir()) == []
    assert list((store.root / "runs").iterdir()) == []
