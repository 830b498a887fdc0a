"""From what was measured to the seconds of a cell."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from synflow_bench.speed import Speed, Workload
from synflow_bench.suites import Cell, PrunerSpec, Revisions, Setting, dense_cell

SIZES = (1000, 200)
MakeSpeed = Callable[..., Speed]


def cell_of(setting: Setting, pruner: str = "random") -> Cell:
    return Cell(setting=setting, pruner=PrunerSpec(name=pruner, label=pruner), compression=10, seed=0)


def test_a_cell_is_set_up_pruned_trained_and_evaluated_before_and_after_every_epoch(
    make_speed: MakeSpeed, make_setting: Callable[..., Setting]
) -> None:
    # 900 examples are trained on, 100 held out and 200 tested: 5 epochs, 6 evaluations.
    found = make_speed().seconds(cell_of(make_setting()), SIZES)
    assert found == pytest.approx(0.25 + 1.0 + 5 * 900 / 1000 + 6 * 300 / 10_000)


def test_the_dense_network_is_not_pruned(make_speed: MakeSpeed, make_setting: Callable[..., Setting]) -> None:
    speed, setting = make_speed(), make_setting()
    dense = dense_cell(setting, 0, Revisions())
    assert speed.seconds(cell_of(setting), SIZES) - speed.seconds(dense, SIZES) == pytest.approx(1.0)


def test_levels_are_trained_and_pruned_one_by_one(
    make_speed: MakeSpeed, make_setting: Callable[..., Setting]
) -> None:
    protocol = {"name": "multishot", "levels": 3, "pre_epochs": 2, "rewind": "init"}
    setting = Setting.model_validate({**make_setting().model_dump(), "protocol": protocol})
    # Three levels of 2 epochs and then 5: 11 epochs in 4 trainings, each evaluated once before it.
    expected = 0.25 + 3 * 1.0 + 11 * 900 / 1000 + 15 * 300 / 10_000
    assert make_speed().seconds(cell_of(setting), SIZES) == pytest.approx(expected)


def test_a_stack_costs_a_step_of_its_own_and_something_for_each_network(make_speed: MakeSpeed) -> None:
    """1/1000 s alone is a + b, 8/4000 s for eight is a + 8 b: b = 1/7000, a = 6/7000."""
    speed = make_speed()
    for together in (1, 2, 4, 8):
        share = (6 / 7000 + together / 7000) / together
        assert speed.seconds_an_example(together) == pytest.approx(share)


def test_more_than_were_measured_together_are_not_faster(make_speed: MakeSpeed) -> None:
    speed = make_speed()
    assert speed.seconds_an_example(20) == speed.seconds_an_example(8)
    assert make_speed(training={1: 500.0}).seconds_an_example(8) == pytest.approx(1 / 500)


def test_a_workload_is_what_costs_time_whatever_the_data_set_and_the_epochs(
    make_setting: Callable[..., Setting], bench: object
) -> None:
    from synflow_bench.host import Host

    datasets = Host.load().datasets
    mnist = Workload.of(make_setting("mnist"), datasets.get("mnist"))
    assert mnist == Workload.of(make_setting("fashion-mnist", epochs=9), datasets.get("fashion-mnist"))
    for change in ({"batch_size": 9}, {"compile": "yes"}):
        assert mnist != Workload.of(make_setting("mnist", **change), datasets.get("mnist"))
    assert mnist.title == "fc on 1x28x28, 10 classes, batch 64"
