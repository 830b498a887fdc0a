"""Optimizers and learning rates against their definitions."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn, optim

from synflow_bench.suites import Recipe
from synflow_bench.training.optimizers import build_optimizer, learning_rate, set_learning_rate


def recipe(**fields: Any) -> Recipe:
    return Recipe(**{"epochs": 10, "lr": 0.5, **fields})


def rates(chosen: Recipe, steps_per_epoch: int) -> list[float]:
    return [learning_rate(chosen, step, steps_per_epoch) for step in range(chosen.epochs * steps_per_epoch)]


def test_step_schedule_equals_torchs_multi_step() -> None:
    chosen = recipe(schedule="step", milestones=[3, 7], gamma=0.2)
    optimizer = optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    scheduler = optim.lr_scheduler.MultiStepLR(optimizer, [3, 7], 0.2)
    for epoch in range(10):
        assert learning_rate(chosen, epoch * 4 + 2, 4) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()


def test_cosine_falls_from_the_full_rate_to_zero_over_all_steps() -> None:
    measured = rates(recipe(schedule="cosine"), 4)
    assert measured == pytest.approx([0.25 * (1 + math.cos(math.pi * step / 40)) for step in range(40)])


def test_warm_up_rises_linearly_then_the_schedule_takes_over() -> None:
    measured = rates(recipe(schedule="cosine", warmup_epochs=2), 5)
    assert measured[:10] == pytest.approx([0.05 * step for step in range(1, 11)])
    assert measured[10] == pytest.approx(0.5)
    assert measured[11:] == sorted(measured[11:], reverse=True)


def test_constant_stays() -> None:
    assert set(rates(recipe(), 3)) == {0.5}


@pytest.mark.parametrize(
    ("fields", "reference"),
    [
        ({"optimizer": "sgd"}, lambda p: optim.SGD(p, 0.1, weight_decay=0.01)),
        ({"optimizer": "momentum"}, lambda p: optim.SGD(p, 0.1, 0.9, nesterov=True, weight_decay=0.01)),
        ({"optimizer": "adam"}, lambda p: optim.Adam(p, 0.1, weight_decay=0.01)),
        ({"optimizer": "rmsprop"}, lambda p: optim.RMSprop(p, 0.1, weight_decay=0.01)),
    ],
)
def test_an_optimizer_is_the_plain_one_of_its_name(fields: dict[str, Any], reference: Any) -> None:
    draw = torch.Generator().manual_seed(0)
    start = torch.randn(40, generator=draw)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    one = build_optimizer(recipe(lr=0.1, weight_decay=0.01, **fields), [ours])
    other = reference([theirs])
    for _ in range(5):
        gradient = torch.randn(40, generator=draw)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        one.step()
        other.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_parameters_that_do_not_train_are_left_out_and_the_rate_reaches_every_group() -> None:
    parameters = [nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1), requires_grad=False)]
    optimizer = build_optimizer(recipe(optimizer="sgd"), parameters)
    assert [len(group["params"]) for group in optimizer.param_groups] == [1]
    set_learning_rate(optimizer, 0.25)
    assert optimizer.param_groups[0]["lr"] == 0.25
