"""`iter-snip` and `force` round by round, against autograd on a function of the weights, in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from synflow_bench import Masks, Problem
from synflow_bench.errors import UsageError
from synflow_bench.pruning import Examples, run_pruner
from synflow_bench_pruners.helpers import sampled
from synflow_bench_pruners.iter_snip import Force, IterSnip
from synflow_bench_pruners.snip import Snip

Pose = Callable[..., Problem]
Tensors = dict[str, Tensor]


@pytest.fixture
def net() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Conv1d(2, 6, 2), nn.BatchNorm1d(6), nn.Tanh(), nn.Flatten(), nn.Linear(18, 3)
        ).double()


@pytest.fixture
def data() -> Examples:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(300, 2, 4, generator=generator, dtype=torch.float64), torch.arange(300) % 3


def weights_of(net: nn.Module) -> Tensors:
    return {name: net.get_parameter(name).detach().clone() for name in ("0.weight", "4.weight")}


def gradient(net: nn.Module, weights: Tensors, data: Examples) -> Tensors:
    leaves = {name: w.clone().requires_grad_() for name, w in weights.items()}
    loss = cross_entropy(functional_call(net.eval(), leaves, (data[0],)), data[1], reduction="sum")
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


def largest(scores: Tensors, number: int) -> Tensors:
    """Bool tensors, True at the `number` largest of all scores."""
    row = torch.cat([score.reshape(-1) for score in scores.values()])
    keep = torch.zeros(len(row), dtype=torch.bool)
    keep[row.argsort(descending=True)[:number]] = True
    parts = torch.split(keep, [score.numel() for score in scores.values()])
    return {name: part.view(scores[name].shape) for name, part in zip(scores, parts, strict=True)}


def by_hand(net: nn.Module, data: Examples, density: float, rounds: int, *, back: bool) -> list[Tensors]:
    """The masks after every round; masked weights may come `back` or not."""
    dense = weights_of(net)
    size = sum(w.numel() for w in dense.values())
    masks = [{name: torch.ones_like(w, dtype=torch.bool) for name, w in dense.items()}]
    for t in range(1, rounds + 1):
        masked = {name: w * masks[-1][name] for name, w in dense.items()}
        gradients = gradient(net, masked, data)
        scores = {name: (dense[name] * gradients[name]).abs() for name in dense}
        if not back:
            scores = {name: torch.where(masks[-1][name], s, -1.0) for name, s in scores.items()}
        masks.append(largest(scores, round(size * density ** (t / rounds))))
    return masks[1:]


@pytest.mark.parametrize("rounds", [1, 2, 10])
@pytest.mark.parametrize(("kind", "back"), [(IterSnip, False), (Force, True)])
def test_every_weight_kept_is_that_of_the_formula(
    kind: type[IterSnip], back: bool, rounds: int, net: nn.Module, data: Examples, pose: Pose
) -> None:
    problem = pose(net, (2, 4), examples=data)
    expected = by_hand(net, data, 0.1, rounds, back=back)[-1]
    assert run_pruner(kind(rounds=rounds), problem, 0.1).masks == Masks(expected)


def test_force_brings_weights_back_and_iterative_snip_does_not(net: nn.Module, data: Examples) -> None:
    def returned(masks: list[Tensors]) -> int:
        pairs = [(a[n], b[n]) for a, b in pairwise(masks) for n in a]
        return sum(int((after & ~before).sum()) for before, after in pairs)

    assert returned(by_hand(net, data, 0.1, 10, back=True)) > 0
    assert returned(by_hand(net, data, 0.1, 10, back=False)) == 0


def test_force_scores_are_the_change_of_the_loss_as_each_weight_is_put_back_or_taken(
    net: nn.Module, data: Examples, pose: Pose
) -> None:
    problem = pose(net, (2, 4), examples=data)
    masks = Masks({n: torch.arange(p.numel()).view(p.shape) % 3 == 0 for n, p in problem.parameters.items()})
    scores = Force().score(problem.at(masks, density=0.3, round=2))
    dense = weights_of(net)
    masked = {name: w * masks[name] for name, w in dense.items()}

    @torch.no_grad()
    def loss(name: str, index: int, step: float) -> float:
        moved = {n: w.clone() for n, w in masked.items()}
        moved[name].view(-1)[index] += step * float(dense[name].view(-1)[index])
        out = functional_call(net.eval(), moved, (data[0],))
        return float(cross_entropy(out, data[1], reduction="sum"))

    for name, score in scores.items():
        for index in range(score.numel()):
            change = (loss(name, index, 1e-5) - loss(name, index, -1e-5)) / 2e-5
            assert float(score.view(-1)[index]) == pytest.approx(abs(change), rel=1e-5, abs=1e-6)


def test_one_round_of_either_is_snip(net: nn.Module, data: Examples, pose: Pose) -> None:
    snip, *others = (
        run_pruner(pruner, pose(net, (2, 4), examples=data), 0.2).masks
        for pruner in (Snip(), IterSnip(rounds=1), Force(rounds=1))
    )
    assert others == [snip, snip]


def test_ten_exponential_rounds_on_all_scoring_data_are_the_default() -> None:
    for kind in (IterSnip, Force):
        assert (kind().rounds, kind().schedule, kind().batches) == (10, "exponential", 0)


def test_batches_draw_new_examples_for_each_round(net: nn.Module, data: Examples, pose: Pose) -> None:
    problem = pose(net, (2, 4), examples=data)
    first, second = sampled(problem, 128).examples, sampled(problem, 128).examples
    assert first is not None
    assert second is not None
    assert not torch.equal(first[0], second[0])
    for inputs, labels in (first, second):
        same = (inputs[:, None] == data[0][None]).flatten(2).all(2)
        assert same.sum(1).tolist() == [1] * 128
        assert torch.equal(data[1][same.int().argmax(1)], labels)
        assert same.any(0).sum() == 128


@pytest.mark.parametrize("kind", [IterSnip, Force])
def test_a_batch_is_scored_as_if_it_were_all_there_is(
    kind: type[IterSnip], net: nn.Module, data: Examples, pose: Pose
) -> None:
    problem = pose(net, (2, 4), examples=data, seed=5)
    scores = kind(batches=2).score(problem)
    drawn = sampled(replace(problem, generator=torch.Generator().manual_seed(5)), 256)
    for name, expected in kind().score(drawn).items():
        assert torch.equal(scores[name], expected)


@pytest.mark.parametrize("kind", [IterSnip, Force])
def test_more_batches_than_there_are_take_everything(
    kind: type[IterSnip], net: nn.Module, data: Examples, pose: Pose
) -> None:
    problems = [pose(net, (2, 4), examples=data, seed=seed) for seed in (0, 1)]
    assert kind(batches=40).prune(problems[0], 0.1) == kind().prune(problems[1], 0.1)


@pytest.mark.parametrize("kind", [IterSnip, Force])
def test_a_negative_number_of_batches_is_refused(kind: type[IterSnip]) -> None:
    with pytest.raises(UsageError, match="batches must be 0, for all scoring data, or more, not -1"):
        kind(batches=-1)
