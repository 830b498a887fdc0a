"""Measuring a network of a shape: with made-up data, in proportion, and within one's patience."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch

from synflow_bench.execution import resolve_pruners
from synflow_bench.protocols import Bench
from synflow_bench.speed import Patience, Synthetic, measure
from synflow_bench.speed._line import line
from synflow_bench.speed._measure import SpeedError
from synflow_bench.speed._subject import Subject
from synflow_bench.suites import PrunerSpec, Setting

SHORT = Patience(0.05)
MakeSetting = Callable[..., Setting]


def test_a_small_network_is_measured_alone_and_in_a_stack(bench: Bench, make_setting: MakeSetting) -> None:
    pruners = resolve_pruners([PrunerSpec(name="random"), PrunerSpec(name="snip")], bench.host)
    speed = measure(make_setting(), Synthetic.like(bench), pruners, SHORT)
    assert set(speed.training) == {1, 8}
    assert set(speed.pruning) == {"random", "snip"}
    assert speed.memory_bytes > 2**20
    assert 100 < speed.training[1] < 1e7


def test_what_is_said_to_take_a_second_takes_about_that(bench: Bench, make_setting: MakeSetting) -> None:
    """A training of ours, by a clock of ours; machines are busy, so that the bounds are wide."""
    setting, made_up = make_setting(), Synthetic.like(bench)
    speed = measure(setting, made_up, (), Patience(0.2))
    subject = Subject(setting, made_up, lambda _: time.perf_counter())
    seconds = subject.train_seconds(1, 40, 64)
    assert 0.2 < seconds * speed.training[1] / (40 * 64) < 5


def test_no_data_set_needs_to_be_there(bench: Bench, make_setting: MakeSetting) -> None:
    assert not bench.host.datasets.get("cifar10")().present(bench.data_root)
    speed = measure(make_setting("cifar10", "lottery/resnet20"), Synthetic.like(bench), (), Patience(0.01))
    assert set(speed.training) == {1}
    assert speed.workload.augmented


def test_made_up_data_have_the_declared_form(bench: Bench) -> None:
    data = Synthetic.like(bench).data("cifar100")
    assert data.train.shape == (3, 32, 32)
    assert len(torch.unique(data.train.labels)) == data.num_classes == 100


def test_a_network_that_does_not_take_the_form_is_an_error_that_names_both(
    bench: Bench, make_setting: MakeSetting
) -> None:
    from synflow_bench.errors import HandledError

    with pytest.raises(HandledError, match="input 1x8x8 is too small for lottery/vgg16"):
        measure(make_setting(model="lottery/vgg16"), Synthetic.like(bench), (), SHORT)


def test_a_network_that_raises_anything_is_one_line(
    make_setting: MakeSetting, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Subject, "setup_seconds", lambda self: 1 / 0)
    with pytest.raises(SpeedError, match="digits / fc does not run: division by zero"):
        measure(make_setting(), Synthetic.like(bench), (), SHORT)


@pytest.mark.parametrize(("fixed", "each"), [(0.0, 2.0), (5.0, 0.5), (1.0, 0.0)])
def test_a_cost_with_a_fixed_part_is_foreseen_from_two_points(fixed: float, each: float) -> None:
    asked: list[int] = []

    def cost(amount: int) -> float:
        asked.append(amount)
        return fixed + each * amount

    expected = fixed + each * 100 if each else 100 / 8 * fixed
    assert line(cost, 2, 100) == pytest.approx(expected)
    assert asked == [2, 8]


def test_a_small_whole_is_not_exceeded() -> None:
    assert line(float, 8, 8) == 8
    assert line(float, 8, 20) == 20
