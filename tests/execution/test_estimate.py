"""The expected time of missing cells: from records where there are any, else from a short training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count

import pytest

from synflow_bench.execution import Plan, Resources, estimate
from synflow_bench.records import Record, Store, Timing, key_of
from synflow_bench.suites import Cell, Multishot, Recipe, Revisions, dense_cell

MakeCell = Callable[..., Cell]
BATCH, TRAINED = 64, 1294
STEPS = -(-TRAINED // BATCH)
"""The optimizer steps of an epoch on the digits without the examples for validation."""


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
    return with_setting(cell, recipe=recipe)


def with_setting(cell: Cell, **changes: object) -> Cell:
    fields = {name: getattr(cell.setting, name) for name in type(cell.setting).model_fields}
    return cell.model_copy(update={"setting": type(cell.setting)(**{**fields, **changes})})


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
    assert (found.cells, found.seconds, found.source) == (3, 2.5, "the mean of 2 recorded cells")


def test_an_unreadable_record_does_not_matter(
    make_cell: MakeCell, put: Callable[..., None], store: Store, alone: Resources
) -> None:
    put(make_cell("random"), 1.0)
    put(make_cell("snip"), 4.0)
    store.path(make_cell("snip")).write_text("{")
    (found,) = estimate(Plan([], missing=[make_cell("grasp")]), store, alone)
    assert (found.seconds, found.source) == (1.0, "the mean of 1 recorded cell")


def test_without_records_a_few_steps_are_timed_and_nothing_is_kept(
    make_cell: MakeCell, store: Store, alone: Resources
) -> None:
    (found,) = estimate(Plan([], missing=[make_cell()]), store, alone)
    assert found.seconds is not None
    assert 0 < found.seconds < 60
    assert f"x {BATCH} examples, pruning not counted" in found.source
    assert store.paths() == []


def test_a_dense_network_has_no_pruning_to_count(make_cell: MakeCell, store: Store, alone: Resources) -> None:
    cell = dense_cell(make_cell().setting, 0, Revisions())
    (found,) = estimate(Plan([], missing=[cell]), store, alone)
    assert found.seconds is not None
    assert "pruning" not in found.source


class Ticks:
    """A clock that goes on by as many seconds whenever it is read."""

    def __init__(self, seconds: float = 1.0) -> None:
        self._seconds = count(step=seconds)

    def __call__(self) -> float:
        return float(next(self._seconds))


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every epoch of a short training take a second per network."""
    monkeypatch.setattr("time.perf_counter", Ticks())


def seconds_of(cells: list[Cell], store: Store, alone: Resources, **workers: int) -> float:
    (found,) = estimate(Plan(cells, missing=cells), store, alone, **workers)
    assert found.seconds is not None
    return found.seconds


@pytest.mark.usefixtures("ticking")
def test_the_time_of_training_is_that_of_a_step_times_the_steps(
    make_cell: MakeCell, store: Store, alone: Resources
) -> None:
    """An epoch of one step of two examples is the first that is timed, and it takes long enough."""
    once, often = ([with_recipe(make_cell(), epochs=epochs)] for epochs in (1, 21))
    per_epoch = (seconds_of(often, store, alone) - seconds_of(once, store, alone)) / 20
    assert per_epoch == pytest.approx(STEPS * BATCH / 2)


def test_a_step_that_is_short_with_few_examples_is_timed_with_the_whole_batch(
    make_cell: MakeCell, store: Store, alone: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step takes a quarter of a second, however many examples it has."""
    monkeypatch.setattr("time.perf_counter", Ticks(0.25))
    once, often = ([with_recipe(make_cell(), epochs=epochs)] for epochs in (1, 21))
    per_epoch = (seconds_of(often, store, alone) - seconds_of(once, store, alone)) / 20
    assert per_epoch == pytest.approx(STEPS * 0.25)


@pytest.mark.usefixtures("ticking")
def test_every_level_of_iterative_pruning_is_a_training(
    make_cell: MakeCell, store: Store, alone: Resources
) -> None:
    plain = with_recipe(make_cell(), epochs=2)
    levels = with_setting(plain, protocol=Multishot(levels=3))
    more = seconds_of([levels], store, alone) - seconds_of([plain], store, alone)
    assert more == pytest.approx(3 * 2 * STEPS * BATCH / 2)


@pytest.mark.usefixtures("ticking")
@pytest.mark.parametrize(("cells", "workers", "networks"), [(1, 2, 0), (5, 2, 3), (16, 2, 8), (100, 1, 8)])
def test_networks_that_are_trained_in_one_batch_share_its_time(
    make_cell: MakeCell, store: Store, alone: Resources, cells: int, workers: int, networks: int
) -> None:
    """Every network adds a second to an epoch of its batch, and the share of each is one second."""
    missing = [make_cell(seed=seed) for seed in range(cells)]
    (found,) = estimate(Plan(missing, missing=missing), store, alone, workers=workers, max_batched=8)
    assert (f"of {networks} models" in found.source) == (networks > 0)
    (by_itself,) = estimate(Plan(missing, missing=missing), store, alone)
    assert found.seconds == pytest.approx(by_itself.seconds, rel=0.1)


def test_a_sample_may_be_larger_than_the_data(make_cell: MakeCell, store: Store, alone: Resources) -> None:
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
    model = make_cell().setting.model.model_copy(update={"name": "lottery/vgg16"})
    cell = with_setting(make_cell(), model=model)
    (found,) = estimate(Plan([cell], missing=[cell]), store, alone)
    assert found.seconds is None
    assert found.source.startswith("not known: ")
    assert "lottery/vgg16" in found.source


def test_nothing_missing_needs_no_time(store: Store, alone: Resources) -> None:
    assert estimate(Plan([]), store, alone) == []
