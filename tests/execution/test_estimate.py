"""How long missing cells will take: from records where there are any, else from training steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from synflow_bench.execution import Crew, Plan, Resources, estimate, make_bench
from synflow_bench.execution import _estimate as estimating
from synflow_bench.host import Host
from synflow_bench.records import Record, Store, Timing, key_of
from synflow_bench.speed import Book, Machine, Patience, Speed, Workload, book_path
from synflow_bench.suites import Cell, Recipe

MakeCell = Callable[..., Cell]


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimating, "BRIEF", Patience(0.03))


@pytest.fixture
def put(store: Store, make_record: Callable[..., Record]) -> Callable[..., None]:
    """Record that a cell took so many seconds in all."""

    def put(cell: Cell, seconds: float, status: str = "ok") -> None:
        timing = Timing(prune_seconds=0, train_seconds=0, total_seconds=seconds)
        record = make_record(status=status).model_copy(update={"cell": cell, "key": key_of(cell)})
        store.put(record if status != "ok" else record.model_copy(update={"timing": timing}))

    return put


@pytest.fixture
def alone(resources: Resources) -> Resources:
    return replace(resources, workers=1)


def with_recipe(cell: Cell, **changes: object) -> Cell:
    recipe = Recipe.model_validate({**cell.setting.recipe.model_dump(), **changes})
    return cell.model_copy(update={"setting": cell.setting.model_copy(update={"recipe": recipe})})


def test_it_is_the_mean_of_what_is_recorded_of_the_setting_whatever_the_pruner(
    make_cell: MakeCell, put: Callable[..., None], store: Store, alone: Resources
) -> None:
    put(make_cell("random"), 1.0)
    put(make_cell("snip"), 4.0)
    put(with_recipe(make_cell("grasp"), epochs=9), 100.0)
    put(make_cell("grasp"), 0.0, status="failed")
    missing = [make_cell("synflow", seed=seed) for seed in range(3)]
    (found,) = estimate(Plan(missing, missing=missing), store, alone)
    assert found.setting == missing[0].setting
    assert (found.cells, found.seconds, found.source) == (3, 2.5, "the mean of 2 recorded")


def test_an_unreadable_record_does_not_matter(
    make_cell: MakeCell, put: Callable[..., None], store: Store, alone: Resources
) -> None:
    put(make_cell("random"), 1.0)
    put(make_cell("snip"), 4.0)
    store.path(make_cell("snip")).write_text("{")
    (found,) = estimate(Plan([], missing=[make_cell("grasp")]), store, alone)
    assert found.seconds == 1.0


def speed_of(cell: Cell) -> Speed:
    """A machine that trains 1,000 examples a second alone and 4,000 in a stack of eight."""
    return Speed(
        workload=Workload.of(cell.setting, Host.load().datasets.get("digits")),
        training={1: 1000.0, 8: 4000.0},
        evaluation=10_000.0,
        pruning={"random": 3.0},
        setup_seconds=0.5,
        memory_bytes=1,
        measured="2000-01-01",
    )


HELD_OUT, TRAINED, TEST = 144, 1294, 359


def test_without_records_a_few_steps_are_timed_and_counted_up_to_the_whole_training(
    make_cell: MakeCell, store: Store, alone: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = with_recipe(make_cell(), epochs=20)
    unpruned = speed_of(cell).model_copy(update={"pruning": {}})
    monkeypatch.setattr(estimating, "measure", lambda *_args, **_settings: unpruned)
    (found,) = estimate(Plan([cell], missing=[cell]), store, alone)
    assert found.seconds == pytest.approx(0.5 + 20 * TRAINED / 1000 + 21 * (HELD_OUT + TEST) / 10_000)
    assert found.source == "from a few timed training steps, without pruning"
    assert store.paths() == []


def test_what_bench_measured_goes_before_a_quick_timing(
    make_cell: MakeCell, store: Store, alone: Resources
) -> None:
    cell = make_cell("random")
    machine = Machine.of(make_bench(alone.data_root, "cpu", 1))
    Book().noting(machine, [speed_of(cell)]).write(book_path(alone.data_root))
    (found,) = estimate(Plan([cell], missing=[cell]), store, alone)
    assert found.seconds == pytest.approx(3.5 + TRAINED / 1000 + 2 * (HELD_OUT + TEST) / 10_000)
    assert found.source == "from `synflow-bench bench` of 2000-01-01"


def test_pruners_that_were_not_timed_count_as_the_mean_of_those_that_were(
    make_cell: MakeCell, store: Store, alone: Resources
) -> None:
    cells = [make_cell("random"), make_cell("snip")]
    machine = Machine.of(make_bench(alone.data_root, "cpu", 1))
    Book().noting(machine, [speed_of(cells[0])]).write(book_path(alone.data_root))
    (found,) = estimate(Plan(cells, missing=cells), store, alone)
    assert found.source.endswith(", 1 of 2 pruners taken as the mean of 1")
    assert found.seconds == pytest.approx(3.5 + TRAINED / 1000 + 2 * (HELD_OUT + TEST) / 10_000)


def test_other_threads_or_another_batch_are_another_measurement(
    make_cell: MakeCell, store: Store, alone: Resources
) -> None:
    cell = make_cell("random")
    bench = make_bench(alone.data_root, "cpu", 1)
    for machine, measured in [
        (Machine.of(bench).model_copy(update={"threads": 2}), cell),
        (Machine.of(bench), with_recipe(cell, batch_size=7)),
    ]:
        Book().noting(machine, [speed_of(measured)]).write(book_path(alone.data_root))
        (found,) = estimate(Plan([cell], missing=[cell]), store, alone)
        assert found.source == "from a few timed training steps, without pruning"


def test_a_damaged_file_of_measurements_does_not_matter(
    make_cell: MakeCell, store: Store, alone: Resources
) -> None:
    book_path(alone.data_root).parent.mkdir(parents=True)
    book_path(alone.data_root).write_text("{")
    (found,) = estimate(Plan([], missing=[make_cell()]), store, alone)
    assert found.source == "from a few timed training steps, without pruning"


@pytest.mark.parametrize(
    ("cells", "workers", "together"), [(1, 2, 1), (4, 2, 2), (5, 2, 3), (100, 2, 8), (100, 1, 8)]
)
def test_as_many_cells_go_together_as_the_executor_deals_out(cells: int, workers: int, together: int) -> None:
    assert Crew(workers, most_together=8).together(cells) == together


def test_cells_that_are_trained_together_take_their_share(
    make_cell: MakeCell, store: Store, alone: Resources
) -> None:
    cells = [make_cell("random", seed=seed) for seed in range(16)]
    machine = Machine.of(make_bench(alone.data_root, "cpu", 1))
    Book().noting(machine, [speed_of(cells[0])]).write(book_path(alone.data_root))
    (found,) = estimate(Plan(cells, missing=cells), store, alone, Crew(2, 8))
    assert found.seconds == pytest.approx(3.5 + TRAINED / 4000 + 2 * (HELD_OUT + TEST) / 10_000)


def test_a_sample_is_never_more_than_the_data(make_cell: MakeCell, store: Store, alone: Resources) -> None:
    cell = with_recipe(make_cell(), batch_size=2000)
    (found,) = estimate(Plan([cell], missing=[cell]), store, alone)
    assert found.seconds is not None
    assert 0 < found.seconds < 60


def test_the_same_steps_are_timed_whatever_the_schedule(
    make_cell: MakeCell, store: Store, alone: Resources
) -> None:
    cell = with_recipe(make_cell(), epochs=200, schedule="cosine", warmup_epochs=100)
    (found,) = estimate(Plan([cell], missing=[cell]), store, alone)
    assert found.seconds is not None


def test_a_setting_that_does_not_run_has_no_time(make_cell: MakeCell, store: Store, alone: Resources) -> None:
    cell = make_cell()
    model = cell.setting.model.model_copy(update={"name": "lottery/vgg16"})
    cell = cell.model_copy(update={"setting": cell.setting.model_copy(update={"model": model})})
    (found,) = estimate(Plan([cell], missing=[cell]), store, alone)
    assert found.seconds is None
    assert found.source.startswith("not measured: input 1x8x8 is too small for lottery/vgg16")


def test_nothing_missing_needs_no_time(store: Store, alone: Resources) -> None:
    assert estimate(Plan([]), store, alone) == []
