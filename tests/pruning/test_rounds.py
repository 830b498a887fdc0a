"""Pruning leaves the caller's network, data and generators alone; ablations change one thing each."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import synflow_bench as sfb
from synflow_bench.pruning import (
    Masks,
    Problem,
    Pruner,
    densities,
    random_inputs,
    random_labels,
    run_pruner,
    shuffle_masks,
)
from synflow_bench.suites import PruningOptions, Scope

Pose = Callable[..., Problem]
Scores = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


class Destructive(Pruner):
    """Changes everything that it can reach, and records the state of the next round."""

    rounds: int = 3
    fails: bool = False
    found: ClassVar[list[tuple[Problem, dict[str, Tensor], list[bool], Tensor]]]

    def score(self, problem: Problem) -> dict[str, Tensor]:
        model = problem.model
        inputs, labels = next(problem.batches())
        modes = [module.training for module in model.modules()]
        state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        assert all(parameter.grad is None for parameter in model.parameters())
        assert all(parameter.requires_grad for parameter in problem.parameters.values())
        self.found.append((problem, state, modes, inputs.clone()))
        model.train()
        problem.loss(model(inputs), labels).backward()
        inputs.fill_(float("nan"))
        drawn = torch.rand(1).item() + np.random.random() + random.random()  # noqa: S311
        with torch.no_grad():
            for tensor in model.state_dict().values():
                tensor.add_(1)
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        model.register_forward_hook(lambda *_: None)
        if self.fails:
            raise RuntimeError("a failure")
        row = {n: torch.rand(p.shape, generator=problem.generator) for n, p in problem.parameters.items()}
        return {name: score * (1 + drawn) for name, score in row.items()}


@pytest.fixture(autouse=True)
def found(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    seen: list[Any] = []
    monkeypatch.setattr(Destructive, "found", seen, raising=False)
    return seen


@pytest.fixture
def model() -> nn.Sequential:
    """4 -> 6 -> 3 with batch norm, dropout, gradients, hooks, and modes of every kind."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 3))
        net(torch.randn(8, 4)).square().sum().backward()
    net[1].eval()
    net[0].bias.requires_grad_(False)
    net[0].register_forward_hook(lambda *_: None)
    return net


@pytest.fixture
def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(9, 4, generator=generator), torch.arange(9) % 3


def snapshot(model: nn.Module, data: tuple[Tensor, Tensor]) -> dict[str, Any]:
    tensors = {**dict(model.state_dict()), "inputs": data[0], "labels": data[1]}
    return {
        "tensors": {name: (tensor.data_ptr(), tensor.detach().clone()) for name, tensor in tensors.items()},
        "gradients": {n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()},
        "requires_grad": [p.requires_grad for p in model.parameters()],
        "modes": [module.training for module in model.modules()],
        "hooks": [dict(module._forward_hooks) for module in model.modules()],
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state(),
        "python": random.getstate(),
        "grad mode": torch.is_grad_enabled(),
    }


def assert_same(before: Any, after: Any) -> None:
    if isinstance(before, dict):
        assert before.keys() == after.keys()
        for key in before:
            assert_same(before[key], after[key])
    elif isinstance(before, tuple | list):
        assert len(before) == len(after)
        for one, other in zip(before, after, strict=True):
            assert_same(one, other)
    elif isinstance(before, Tensor):
        assert torch.equal(before, after)
    elif isinstance(before, np.ndarray):
        assert np.array_equal(before, after)
    else:
        assert before == after


def test_run_pruner_touches_nothing_of_the_callers(
    model: nn.Module, data: tuple[Tensor, Tensor], pose: Pose
) -> None:
    before = snapshot(model, data)
    run_pruner(Destructive(), pose(model, examples=data), 0.3)
    assert_same(before, snapshot(model, data))


@pytest.mark.parametrize(
    "pruner", ["random", "magnitude", "snip", "grasp", "synflow[rounds=3]", Destructive()], ids=str
)
def test_the_library_call_touches_nothing_of_the_callers(
    model: nn.Module, data: tuple[Tensor, Tensor], pruner: str | Pruner
) -> None:
    before = snapshot(model, data)
    sfb.prune(model, pruner, compression=3, input_shape=(4,), data=data)
    assert_same(before, snapshot(model, data))


def test_nothing_is_touched_when_a_pruner_fails(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    before = snapshot(model, data)
    with pytest.raises(RuntimeError, match="a failure"):
        sfb.prune(model, Destructive(fails=True), compression=3, input_shape=(4,), data=data)
    assert_same(before, snapshot(model, data))


def test_pruning_where_gradients_are_off_works_and_leaves_them_off(
    model: nn.Module, data: tuple[Tensor, Tensor]
) -> None:
    with torch.no_grad():
        before = snapshot(model, data)
        masks = sfb.prune(model, "snip", compression=3, input_shape=(4,), data=data)
        assert_same(before, snapshot(model, data))
    assert masks == sfb.prune(model, "snip", compression=3, input_shape=(4,), data=data)


def test_every_round_sees_the_network_as_it_was_with_its_masks(
    model: nn.Sequential, data: tuple[Tensor, Tensor], pose: Pose, found: list[Any]
) -> None:
    original = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    run_pruner(Destructive(), pose(model, examples=data), 0.3)
    assert [problem.round for problem, *_ in found] == [1, 2, 3]
    for problem, state, modes, inputs in found:
        for name, tensor in state.items():
            mask = problem.masks.get(name, torch.tensor(True))
            assert torch.equal(tensor, original[name] * mask), (problem.round, name)
        assert not any(modes)
        assert torch.equal(inputs, data[0])
        assert all(torch.equal(problem.dense[name], original[name]) for name in problem.masks)


def test_a_transformed_problem_is_masked_and_restored_like_any_other(
    model: nn.Sequential, pose: Pose, scores_of: Scores
) -> None:
    original = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    squared = pose(model).transformed(lambda _, tensor: tensor.square())
    _, masks = squared.at(squared.masks, density=0.5, round=1).keep(
        lambda problem: scores_of(problem.parameters)
    )
    later = squared.at(masks, density=0.2, round=2)
    assert masks.density == pytest.approx(0.5, abs=0.02)
    for name, tensor in later.model.state_dict().items():
        assert torch.equal(tensor, original[name].square() * masks.get(name, torch.tensor(True))), name
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in original.items())


def test_what_a_pruner_draws_from_global_generators_is_set_by_its_own_seed(
    model: nn.Module, data: tuple[Tensor, Tensor]
) -> None:
    class Careless(Pruner):
        needs_data: ClassVar[bool] = False

        def score(self, problem: Problem) -> dict[str, Tensor]:
            shapes = {name: p.shape for name, p in problem.parameters.items()}
            noise = random.random() * torch.from_numpy(np.random.random(6)).float()  # noqa: S311
            return {n: torch.rand(s) + noise[: s[0]].unsqueeze(1) for n, s in shapes.items()}

    first = sfb.prune(model, Careless(), compression=3, input_shape=(4,), seed=1)
    torch.rand(3), np.random.random(5), random.random()  # noqa: S311
    assert sfb.prune(model, Careless(), compression=3, input_shape=(4,), seed=1) == first
    assert sfb.prune(model, Careless(), compression=3, input_shape=(4,), seed=2) != first


@pytest.mark.parametrize("scope", ["global", "local"])
@pytest.mark.parametrize("schedule", ["exponential", "linear"])
def test_rounds_follow_the_schedule_and_nothing_comes_back(
    model: nn.Module, data: tuple[Tensor, Tensor], pose: Pose, schedule: str, scope: Scope, found: list[Any]
) -> None:
    pruner = Destructive(rounds=7, schedule=schedule)  # type: ignore[arg-type]
    masks = run_pruner(pruner, pose(model, examples=data, options=PruningOptions(scope=scope)), 0.1).masks
    size, falling = masks.size, densities(pruner.schedule, 0.1, 7)
    assert [problem.density for problem, *_ in found] == falling
    seen = [*(problem.masks for problem, *_ in found), masks]
    assert [each.kept for each in seen] == [size, *(round(density * size) for density in falling)]
    for earlier, later in pairwise(seen):
        assert not any((later[name] & ~earlier[name]).any() for name in later)


def test_masked_weights_return_only_if_the_method_revives_them(
    net: nn.Module, pose: Pose, scores_of: Scores
) -> None:
    problem = pose(net)
    scores = scores_of(problem.parameters)
    removed = Masks({name: score * 35 < 28.5 for name, score in scores.items()})
    later = problem.at(removed, density=0.2, round=2)
    _, stays = later.keep(lambda _: scores)
    _, revived = later.keep(lambda _: scores, revive=True)
    assert stays.kept == revived.kept == 7
    assert all(torch.equal(revived[name], score * 35 > 28.5) for name, score in scores.items())
    assert all(
        torch.equal(stays[name], (score * 35 > 21.5) & (score * 35 < 28.5)) for name, score in scores.items()
    )


def test_inverting_keeps_what_scores_least_and_still_nothing_returns(
    net: nn.Module, pose: Pose, scores_of: Scores
) -> None:
    class Fixed(Pruner):
        needs_data: ClassVar[bool] = False

        def score(self, problem: Problem) -> dict[str, Tensor]:
            return {n: s * problem.masks[n] for n, s in scores_of(problem.parameters).items()}

    scores = scores_of(pose(net).parameters)
    for rounds in (1, 4):
        masks = run_pruner(Fixed(rounds=rounds), pose(net, invert=True), 0.2).masks
        assert all(torch.equal(masks[name], score * 35 < 7.5) for name, score in scores.items())


def test_a_pruner_that_needs_no_data_gets_none(net: nn.Module, pose: Pose) -> None:
    with pytest.raises(sfb.HandledError, match="sets needs_data = True"):
        next(pose(net).batches())


def test_batches_are_copies_of_all_examples_in_order(
    net: nn.Module, pose: Pose, data: tuple[Tensor, Tensor]
) -> None:
    batches = list(pose(net, examples=data).batches(size=4))
    assert [len(labels) for _, labels in batches] == [4, 4, 1]
    assert torch.equal(torch.cat([inputs for inputs, _ in batches]), data[0])
    assert torch.equal(torch.cat([labels for _, labels in batches]), data[1])
    assert not {inputs.data_ptr() for inputs, _ in batches} & {part.data_ptr() for part in data[0].split(4)}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_shuffling_keeps_every_layers_count_and_moves_the_positions() -> None:
    masks = Masks({"a": torch.rand(20, 30, generator=generator()) < 0.2, "b": torch.arange(50) < 5})
    shuffled = shuffle_masks(masks, generator())
    assert shuffled.layer_kept == masks.layer_kept
    assert {name: mask.shape for name, mask in shuffled.items()} == {n: m.shape for n, m in masks.items()}
    assert all(not torch.equal(shuffled[name], masks[name]) for name in masks)


def test_shuffled_positions_are_uniform() -> None:
    masks = Masks({"a": torch.arange(10) < 3})
    own = generator()
    hits = torch.stack([shuffle_masks(masks, own)["a"].int() for _ in range(3000)]).sum(0)
    spread = (3000 * 0.3 * 0.7) ** 0.5
    assert ((hits - 900).abs() < 4 * spread).all()


def test_equal_seeds_shuffle_equally() -> None:
    masks = Masks({"a": torch.arange(1000) < 100})
    assert shuffle_masks(masks, generator(1)) == shuffle_masks(masks, generator(1))
    assert shuffle_masks(masks, generator(1)) != shuffle_masks(masks, generator(2))


def test_random_labels_keep_the_inputs_and_use_every_class() -> None:
    inputs, labels = torch.randn(400, 2, generator=generator()), torch.zeros(400, dtype=torch.long)
    same, drawn = random_labels((inputs, labels), 4, generator())
    assert same is inputs
    assert (drawn.shape, drawn.dtype) == (labels.shape, torch.long)
    assert (drawn.bincount(minlength=4) - 100).abs().max() < 4 * (400 * 0.25 * 0.75) ** 0.5
    assert not labels.any()


def test_random_inputs_keep_the_labels_and_are_standard_normal() -> None:
    inputs, labels = torch.full((100, 1, 8, 8), 7.0, dtype=torch.float64), torch.arange(100)
    drawn, same = random_inputs((inputs, labels), generator())
    assert same is labels
    assert (drawn.shape, drawn.dtype) == (inputs.shape, torch.float64)
    assert abs(float(drawn.mean())) < 4 / 6400**0.5
    assert abs(float(drawn.var()) - 1) < 4 * (2 / 6400) ** 0.5
    assert (inputs == 7).all()


class Saving(nn.Module):
    """A perceptron that computes its activations again in the backward pass."""

    def __init__(self, saves: bool) -> None:
        super().__init__()
        self.saves = saves
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU())
            self.layers.append(nn.Linear(16, 3))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = checkpoint(self.layers, x, use_reentrant=False) if self.saves else self.layers(x)
        return logits


@pytest.mark.parametrize("pruner", ["ntk-sap", "prospr", "prospr[second_order=false]", "px", "grasp"])
def test_checkpoints_change_no_mask(pruner: str) -> None:
    data = torch.randn(12, 6, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3
    mine, plain = (sfb.prune(Saving(saves), pruner, compression=3, data=data) for saves in (True, False))
    assert mine == plain


def test_checkpoints_are_as_before_after_pruning() -> None:
    sfb.prune(Saving(True), "synflow[rounds=2]", compression=3, input_shape=(6,))
    net, calls = Saving(True), []
    net.layers[0].register_forward_hook(lambda *_: calls.append(1))
    net(torch.ones(1, 6)).sum().backward()
    assert len(calls) == 2


class PrunesAnother(sfb.Pruner):
    """A pruner that prunes a network of its own on the way to its scores."""

    needs_data = False

    def score(self, problem: Problem) -> dict[str, Tensor]:
        sfb.prune(Saving(True), "synflow[rounds=1]", compression=3, input_shape=(6,))
        return {name: weight.abs() for name, weight in problem.parameters.items()}


def test_a_pruner_may_prune_other_networks() -> None:
    net = Saving(True)
    assert sfb.prune(net, PrunesAnother(), compression=3, input_shape=(6,)).kept == 133
    checkpoint(net.layers, torch.ones(1, 6, requires_grad=True), use_reentrant=True).sum().backward()
