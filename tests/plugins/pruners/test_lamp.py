"""LAMP by its definition, weight by weight."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from synflow_bench import Problem
from synflow_bench.errors import ScoreError
from synflow_bench.pruning import run_pruner
from synflow_bench.suites import PruningOptions
from synflow_bench_models.resnet import lottery_resnet20 as resnet20
from synflow_bench_pruners.lamp import Lamp

Pose = Callable[..., Problem]


def by_definition(weights: Tensor) -> Tensor:
    """For each weight, its square over the sum of the squares that are not smaller: n^2 comparisons."""
    squares = weights.detach().double().reshape(-1).square()
    not_smaller = squares[None, :] >= squares[:, None]
    return (squares / (not_smaller * squares).sum(1)).view(weights.shape)


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return resnet20((3, 32, 32), 10)


def test_scores_are_the_definition(pose: Pose) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv1d(3, 8, 3), nn.Flatten(), nn.Linear(16, 7))
    problem = pose(net, (3, 4), options=PruningOptions(prune_bias=True))
    for name, scores in Lamp().score(problem).items():
        expected = by_definition(problem.parameters[name])
        torch.testing.assert_close(scores, expected, rtol=1e-12, atol=0)


def test_weights_too_small_to_square_are_ranked_like_others(pose: Pose) -> None:
    net = nn.Linear(5, 4)
    plain = Lamp().score(pose(net, (5,)))["weight"]
    with torch.no_grad():
        net.weight.mul_(2.0**-100)
    torch.testing.assert_close(Lamp().score(pose(net, (5,)))["weight"], plain, rtol=1e-12, atol=0)


def test_equal_weights_are_taken_in_order(pose: Pose) -> None:
    net = nn.Linear(2, 2)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, -2.0], [2.0, 1.0]]))
    problem = pose(net, (2,), options=PruningOptions(prune_bias=True))
    expected = torch.tensor([[1 / 9, 1.0], [4 / 8, 1 / 10]], dtype=torch.float64)
    torch.testing.assert_close(Lamp().score(problem)["weight"], expected)


def test_a_tensor_of_zeros_scores_like_one_of_equal_weights(pose: Pose) -> None:
    net = nn.Linear(2, 3)
    nn.init.zeros_(net.bias)
    scores = Lamp().score(pose(net, (2,), options=PruningOptions(prune_bias=True)))["bias"]
    assert scores.tolist() == pytest.approx([1, 1 / 2, 1 / 3])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_an_error(value: float, pose: Pose) -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    nn.init.constant_(net[0].weight[1], value)
    with pytest.raises(ScoreError, match="not finite"):
        run_pruner(Lamp(), pose(net, (2,)), 0.5)


@pytest.mark.parametrize("options", [{}, {"prune_bias": True, "prune_batchnorm": True}], ids=str)
def test_no_layer_empties_while_there_is_a_weight_for_each(
    options: dict[str, bool], resnet: nn.Module, pose: Pose
) -> None:
    problem = pose(resnet, (3, 32, 32), options=PruningOptions(**options))
    layers = len(problem.parameters)
    for kept in (layers, layers + 1, 271, 2709):
        masks = run_pruner(Lamp(), problem, kept / problem.masks.size).masks
        assert masks.kept == kept
        assert min(masks.layer_kept.values()) > 0


def test_inside_a_layer_the_largest_stay(resnet: nn.Module, pose: Pose) -> None:
    masks = run_pruner(Lamp(), pose(resnet, (3, 32, 32)), 0.02).masks
    for name, mask in masks.items():
        weights = resnet.get_parameter(name).detach().abs()
        assert weights[mask].min() >= weights[~mask].max(), name
