"""How long missing cells will take: from records where there are any, else from training steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import pytest

from synflow_bench.execution import Plan, Resources, estimate
from synflow_bench.execution import _estimate as estimating
from synflow_bench.records import Record, Store, Timing, key_of
from synflow_bench.suites import Cell, Recipe

MakeCell = Callable[..., Cell]


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


def test_without_records_a_few_steps_are_timed_and_counted_up_to_the_whole_training(
    make_cell: MakeCell, store: Store, alone: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that ticks once an epoch, a part of the data takes one second, whatever it holds."""
    ticks = count()
    monkeypatch.setattr(estimating, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))
    cell = with_recipe(make_cell(), epochs=20)
    (found,) = estimate(Plan([cell], missing=[cell]), store, alone)
    parts_of_an_epoch = 1438 * 0.9 / (estimating.STEPS * cell.setting.recipe.batch_size)
    assert found.seconds == pytest.approx(20 * parts_of_an_epoch)
    assert found.source == "from 8 timed training steps, without pruning"
    assert next(ticks) == 3, "before training, and after each of two epochs"
    assert store.paths() == []


def test_a_sample_is_never_more_than_the_data(make_cell: MakeCell, store: Store, alone: Resources) -> None:
    cell = with_recipe(make_cell(), batch_size=5000)
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
