"""FTS and HTS against gradients of single examples and the Hessian, in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain, repeat

import pytest
import torch
from scipy.linalg import hadamard
from torch import Tensor, nn
from torch.autograd.functional import hessian
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

from synflow_bench.pruning import Examples, Problem
from synflow_bench.suites import PruningOptions
from synflow_bench_pruners.taylor import Fts, Hts, signs

Pose = Callable[..., Problem]
EVERYTHING = PruningOptions(prune_bias=True, prune_batchnorm=True)


@pytest.fixture
def problem(pose: Pose) -> Problem:
    """Smooth, with batch norm away from its first statistics and with dropout, so that eval mode shows."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv1d(2, 3, 2), nn.BatchNorm1d(3), nn.Tanh(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(9, 3)
        )
        net(3 * torch.randn(50, 2, 4) + 1)
        inputs = torch.randn(10, 2, 4, dtype=torch.float64)
    return pose(net.double(), (2, 4), examples=(inputs, torch.arange(10) % 3), options=EVERYTHING)


def loss_of(problem: Problem, weights: Mapping[str, Tensor], data: Examples, temperature: float) -> Tensor:
    logits = functional_call(problem.model, dict(weights), (data[0],))
    return cross_entropy(logits / temperature, data[1])


def detached(problem: Problem) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in problem.parameters.items()}


@pytest.mark.parametrize("temperature", [1.0, 200.0])
def test_fts_takes_the_mean_square_of_gradients_of_single_examples(
    problem: Problem, temperature: float
) -> None:
    def single(weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return loss_of(problem, weights, (x[None], y[None]), temperature)

    assert problem.examples
    weights = detached(problem)
    gradients = vmap(grad(single), in_dims=(None, 0, 0))(weights, *problem.examples)
    for name, score in Fts(temperature=temperature).score(problem).items():
        w, each = weights[name], gradients[name]
        expected = (w * each.mean(0) + w.square() * each.square().mean(0) / 2).abs()
        assert torch.allclose(score, expected, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("batch", [1, 5, 10])
def test_hts_with_probes_that_span_all_directions_has_the_hessians_diagonal(
    problem: Problem, batch: int
) -> None:
    """Rows of a Hadamard matrix: their products z z^T have the mean 1, so that z * (H z) has no noise."""
    weights, temperature = detached(problem), 3.0
    sizes = [w.numel() for w in weights.values()]
    rows = torch.from_numpy(hadamard(64)[:, : sum(sizes)]).double()
    probes: Iterator[Tensor] = chain.from_iterable(repeat(rows))

    def draw() -> list[Tensor]:
        parts = next(probes).split(sizes)
        return [part.view(w.shape) for part, w in zip(parts, weights.values(), strict=True)]

    def flat_loss(row: Tensor) -> Tensor:
        parts = zip(weights.items(), row.split(sizes), strict=True)
        assert problem.examples
        return loss_of(
            problem, {n: part.view(w.shape) for (n, w), part in parts}, problem.examples, temperature
        )

    row = torch.cat([w.flatten() for w in weights.values()])
    expected = (row * grad(flat_loss)(row) + row.square() * hessian(flat_loss, row).diagonal() / 2).abs()
    scores = Hts(temperature=temperature, batch=batch, probes=64).with_probes(problem, draw)
    found = torch.cat([score.flatten() for score in scores.values()])
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-14)


def test_probes_are_signs_of_the_problems_generator(problem: Problem) -> None:
    first, second = signs(problem), signs(problem)
    assert {float(entry) for probe in first for entry in probe.flatten()} == {-1.0, 1.0}
    assert [probe.shape for probe in first] == [p.shape for p in problem.parameters.values()]
    assert not all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("pruner", [Fts(mode="train", batch=5), Hts(mode="train", batch=5)], ids=str)
def test_training_mode_leaves_nothing_behind(problem: Problem, pruner: Fts | Hts) -> None:
    before = {name: buffer.clone() for name, buffer in problem.model.named_buffers()}
    scores = pruner.score(problem)
    assert all(torch.equal(before[name], buffer) for name, buffer in problem.model.named_buffers())
    assert not any(module.training for module in problem.model.modules())
    evaluated = type(pruner)(batch=5).score(problem)
    assert not torch.allclose(scores["0.weight"], evaluated["0.weight"], rtol=1e-2)


def test_published_defaults() -> None:
    assert (Fts().temperature, Fts().batch, Fts().mode) == (1.0, 1, "eval")
    assert (Hts().temperature, Hts().batch, Hts().mode, Hts().probes) == (200.0, 1, "eval", 10)
