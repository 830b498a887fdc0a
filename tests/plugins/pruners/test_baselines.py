"""`random` and `magnitude`: what they keep, by law."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from synflow_bench.pruning import Problem, run_pruner
from synflow_bench_models.resnet import lottery_resnet20 as resnet20
from synflow_bench_models.small import fc
from synflow_bench_pruners.magnitude import Magnitude
from synflow_bench_pruners.random import Random

Pose = Callable[..., Problem]


@pytest.fixture(params=[(fc, (1, 28, 28)), (resnet20, (3, 32, 32))], ids=["fc", "lottery/resnet20"])
def network(request: pytest.FixtureRequest) -> tuple[nn.Module, tuple[int, int, int]]:
    factory, shape = request.param
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return factory(shape, 10), shape


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("compression", [2, 10, 100])
def test_random_leaves_every_layer_within_four_sigma_of_the_density(
    network: tuple[nn.Module, tuple[int, int, int]], pose: Pose, compression: int, seed: int
) -> None:
    model, shape = network
    density = 1 / compression
    masks = run_pruner(Random(), pose(model, shape, seed=seed), density).masks
    assert masks.kept == round(density * masks.size)
    for name, kept in masks.layer_kept.items():
        size = masks[name].numel()
        assert abs(kept - density * size) <= 4 * (size * density * (1 - density)) ** 0.5, name


def test_random_masks_depend_on_the_seed_alone(
    network: tuple[nn.Module, tuple[int, int, int]], pose: Pose
) -> None:
    model, shape = network
    first = run_pruner(Random(), pose(model, shape, seed=1), 0.1).masks
    torch.rand(1)
    assert run_pruner(Random(), pose(model, shape, seed=1), 0.1).masks == first
    assert run_pruner(Random(), pose(model, shape, seed=2), 0.1).masks != first


@pytest.mark.parametrize("compression", [2, 10, 1000])
def test_magnitude_keeps_the_largest_weights_of_the_whole_network(
    network: tuple[nn.Module, tuple[int, int, int]], pose: Pose, compression: int
) -> None:
    model, shape = network
    masks = run_pruner(Magnitude(), pose(model, shape), 1 / compression).masks
    sizes = torch.cat([model.get_parameter(name).detach().abs().reshape(-1) for name in masks])
    kept = torch.cat([mask.reshape(-1) for mask in masks.values()])
    assert int(kept.sum()) == round(len(sizes) / compression)
    assert sizes[kept].min() >= sizes[~kept].max()
