"""What all pruners share that only choose layer densities."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import nn

from synflow_bench import Masks, Problem, Pruner
from synflow_bench.errors import UsageError
from synflow_bench.pruning import apportion, run_pruner
from synflow_bench.suites import PruningOptions
from synflow_bench_models.lottery_resnet import resnet20
from synflow_bench_pruners.random_in_layers import RandomInLayers, draw

Pose = Callable[..., Problem]
ClassOf = Callable[[str], type[Pruner]]
NAMES = ["uniform", "uniform-plus", "erk", "igq", "balanced", "smart-ratio"]
SHAPE = (3, 32, 32)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return resnet20(SHAPE, 10)


class FirstOnly(RandomInLayers):
    """Everything to the layers in turn: a rule that is easy to follow by hand."""

    def shares(self, problem: Problem, total: int) -> Mapping[str, float]:
        kept = {}
        for name, room in problem.masks.layer_kept.items():
            kept[name] = float(min(room, total))
            total -= int(kept[name])
        return kept


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("compression", [1, 1.01, 2, 10, 100, 1000, 270_896])
def test_keeps_exactly_the_density(
    name: str, compression: float, model: nn.Module, pruner_class: ClassOf, pose: Pose
) -> None:
    masks = run_pruner(pruner_class(name)(), pose(model, SHAPE), 1 / compression).masks
    assert masks.kept == round(masks.size / compression)


@pytest.mark.parametrize("name", NAMES)
def test_local_scope_is_one_density_for_all(
    name: str, model: nn.Module, pruner_class: ClassOf, pose: Pose
) -> None:
    masks = run_pruner(
        pruner_class(name)(), pose(model, SHAPE, options=PruningOptions(scope="local")), 0.03
    ).masks
    assert masks.layer_kept == apportion({layer: mask.numel() for layer, mask in masks.items()}, 0.03)


@pytest.mark.parametrize("name", NAMES)
def test_inverted_keeps_what_the_rule_would_remove(
    name: str, model: nn.Module, pruner_class: ClassOf, pose: Pose
) -> None:
    density = 0.25
    kept = run_pruner(pruner_class(name)(), pose(model, SHAPE), 1 - density).masks
    inverted = run_pruner(pruner_class(name)(), pose(model, SHAPE, invert=True), density).masks
    assert inverted.kept == kept.size - kept.kept
    for layer, mask in kept.items():
        assert inverted.layer_kept[layer] == mask.numel() - kept.layer_kept[layer]


@pytest.mark.parametrize("name", NAMES)
def test_a_smaller_network_is_pruned_further(
    name: str, model: nn.Module, pruner_class: ClassOf, pose: Pose
) -> None:
    """Levels of pruning, one on top of the other: what is gone stays gone."""
    problem = pose(model, SHAPE)
    before = run_pruner(pruner_class(name)(), problem, 0.1).masks
    after = run_pruner(pruner_class(name)(), problem.at(before, density=0.1, round=1), 0.09).masks
    assert after.kept == round(0.09 * after.size)
    assert all(bool((after[layer] <= before[layer]).all()) for layer in after)


@pytest.mark.parametrize("name", NAMES)
def test_depends_on_its_own_generator_alone(
    name: str, model: nn.Module, pruner_class: ClassOf, pose: Pose
) -> None:
    def masks(seed: int) -> Masks:
        return pruner_class(name)().prune(pose(model, SHAPE, seed=seed), 0.1)

    first = masks(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        assert masks(1) == first
    other = masks(2)
    assert other != first
    assert other.layer_kept == first.layer_kept


@pytest.mark.parametrize("name", NAMES)
def test_asks_for_no_data(name: str, pruner_class: ClassOf) -> None:
    assert not pruner_class(name).needs_data


@pytest.mark.parametrize("name", NAMES)
def test_rounds_are_refused(name: str, pruner_class: ClassOf) -> None:
    with pytest.raises(UsageError, match="draws its masks at once: rounds=10 has no effect, leave it out"):
        pruner_class(name)(rounds=10)


@pytest.mark.parametrize(("name", "field"), [("uniform-plus", "last"), ("smart-ratio", "linear")])
@pytest.mark.parametrize("density", [-0.1, 1.5, float("nan")])
def test_a_density_that_is_none_is_refused(
    name: str, field: str, density: float, pruner_class: ClassOf
) -> None:
    with pytest.raises(UsageError, match=f"{field} is the density of a layer, from 0 to 1, not {density:g}"):
        pruner_class(name)(**{field: density})


def test_a_rule_of_ten_lines(pose: Pose) -> None:
    net = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 6))
    masks = run_pruner(FirstOnly(), pose(net, (4,)), 0.5).masks
    assert masks.layer_kept == {"0.weight": 20, "1.weight": 5}


def test_every_place_is_as_likely(pose: Pose) -> None:
    """2000 draws of 3 of 12: each place within five standard deviations of a quarter."""
    problem = pose(nn.Linear(4, 3), (4,))
    times = sum(draw(problem, {"weight": 3})["weight"].long() for _ in range(2000))
    assert isinstance(times, torch.Tensor)
    assert int(times.sum()) == 6000
    assert bool(((times - 500).abs() < 5 * (2000 * 0.25 * 0.75) ** 0.5).all())
