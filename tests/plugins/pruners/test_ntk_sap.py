"""`ntk-sap` against finite differences of the mask, in float64, and what it draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from synflow_bench.errors import UsageError
from synflow_bench.pruning import Masks, Problem, run_pruner
from synflow_bench.suites import PruningOptions
from synflow_bench_models.small import fc
from synflow_bench_pruners.ntk_sap import Draw, NtkSap

Pose = Callable[..., Problem]
EVERYTHING = PruningOptions(prune_bias=True, prune_batchnorm=True, examples_per_class=4)


@pytest.fixture
def net() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = (nn.Conv1d(2, 3, 2), nn.BatchNorm1d(3), nn.Tanh(), nn.Flatten(), nn.Linear(9, 3))
        net = nn.Sequential(*layers)
        nn.init.uniform_(net[1].weight, 0.5, 2)
    return net.double()


def half(problem: Problem) -> Problem:
    masks = {n: torch.arange(p.numel()).view(p.shape) % 3 > 0 for n, p in problem.parameters.items()}
    return problem.at(Masks(masks), density=0.5, round=2)


def statistics_of(net: nn.Module, weights: Mapping[str, Tensor], inputs: Tensor) -> dict[str, Tensor]:
    """Mean and unbiased variance of what reaches the batch norm."""
    seen = nn.functional.conv1d(inputs, weights["0.weight"], weights["0.bias"])
    return {"1.running_mean": seen.mean((0, 2)), "1.running_var": seen.transpose(0, 1).flatten(1).var(1)}


def test_scores_are_derivatives_by_the_masks_summed_over_fresh_draws(net: nn.Module, pose: Pose) -> None:
    problem = half(pose(net, (2, 4), options=EVERYTHING, seed=5))
    scores = NtkSap(repeats=2, batch=15).score(problem)
    again = half(pose(net, (2, 4), options=EVERYTHING, seed=5))
    draws = [Draw.of(again, size, 0.01) for size in (12, 12)]
    eager = deepcopy(net).eval()
    start = {name: mask.double() for name, mask in problem.masks.items()}
    fixed = [statistics_of(net, {n: d.weights[n] * m for n, m in start.items()}, d.inputs) for d in draws]

    def change(masks: Mapping[str, Tensor]) -> float:
        total = 0.0
        for draw, statistics in zip(draws, fixed, strict=True):
            outputs = []
            for weights in (draw.weights, draw.perturbed):
                masked = {name: weights[name] * mask for name, mask in masks.items()}
                outputs.append(functional_call(eager, {**masked, **statistics}, (draw.inputs,)))
            total += float((outputs[0] - outputs[1]).square().sum())
        return total

    step = 1e-4
    for name, score in scores.items():
        for place in range(score.numel()):
            moved = []
            for sign in (1, -1):
                mask = start[name].clone()
                mask.view(-1)[place] += sign * step
                moved.append(change({**start, name: mask}))
            expected = abs(moved[0] - moved[1]) / (2 * step) * float(start[name].view(-1)[place])
            assert float(score.view(-1)[place]) == pytest.approx(expected, rel=1e-4, abs=1e-8)


def test_weights_are_permuted_inputs_and_perturbations_are_normal(pose: Pose) -> None:
    model = nn.Sequential(nn.Linear(200, 100), nn.BatchNorm1d(100), nn.Linear(100, 3))
    problem = pose(model, (200,))
    first, second = (Draw.of(problem, 100, 0.01) for _ in range(2))
    for name, dense in model.named_parameters():
        assert torch.equal(first.weights[name].reshape(-1).sort()[0], dense.detach().reshape(-1).sort()[0])
    weight = "0.weight"
    assert not torch.equal(first.weights[weight], second.weights[weight])
    assert float((first.weights[weight] != model[0].weight).float().mean()) > 0.99
    assert first.inputs.shape == (100, 200)
    for drawn in (first.inputs, (first.perturbed[weight] - first.weights[weight]) / 0.01):
        assert float(drawn.mean()) == pytest.approx(0, abs=4 / drawn.numel() ** 0.5)
        assert float(drawn.std()) == pytest.approx(1, abs=4 / (2 * drawn.numel()) ** 0.5)


@pytest.mark.parametrize("prune_bias", [False, True])
def test_biases_are_permuted_too(pose: Pose, prune_bias: bool) -> None:
    model = nn.Linear(20, 10)
    options = PruningOptions(prune_bias=prune_bias)
    drawn = Draw.of(pose(model, (20,), options=options), 2, 0.01).weights["bias"]
    assert torch.equal(drawn.sort()[0], model.bias.detach().sort()[0])


def test_five_draws_for_ten_classes_and_one_for_more(pose: Pose) -> None:
    for classes, draws in ((10, 5), (11, 1)):
        problem = pose(nn.Linear(4, classes), (4,), num_classes=classes)
        assert len(list(NtkSap().batch_sizes(problem))) == draws


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28)], ids=str)
def test_no_layer_empties_without_biases(pose: Pose, shape: tuple[int, int, int]) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = fc(shape, 10)
    options = PruningOptions(examples_per_class=10, biases="zero")
    problem = pose(model, shape, num_classes=10, options=options)
    assert min(run_pruner(NtkSap(), problem, 0.02).masks.layer_kept.values()) > 0


def test_frozen_parameters_keep_their_values(net: nn.Module, pose: Pose) -> None:
    net[1].weight.requires_grad_(False)
    assert "1.weight" not in Draw.of(pose(net, (2, 4)), 3, 0.01).weights


def test_masked_weights_score_zero(net: nn.Module, pose: Pose) -> None:
    problem = half(pose(net, (2, 4)))
    for name, score in NtkSap().score(problem).items():
        assert not score[~problem.masks[name]].any()


def test_draws_from_the_problems_generator_alone_and_restores_batch_norm(net: nn.Module, pose: Pose) -> None:
    torch.manual_seed(3)
    expected = torch.get_rng_state()
    problem = pose(net, (2, 4))
    first = NtkSap().score(problem)
    assert torch.equal(torch.get_rng_state(), expected)
    torch.manual_seed(4)
    second = NtkSap().score(pose(net, (2, 4)))
    assert all(torch.equal(first[name], second[name]) for name in first)
    norm = problem.model[1]  # type: ignore[index]
    assert norm.momentum == 0.1
    assert not norm.training


@pytest.mark.parametrize("wrong", [{"repeats": -1}, {"perturbation": 0.0}, {"batch": 1}], ids=str)
def test_refuses_draws_that_cannot_be(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="repeats must be at least 0"):
        NtkSap(**wrong)  # type: ignore[arg-type]
