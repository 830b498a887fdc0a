"""PX against an enumeration of all paths, and against SynFlow-L2 where both are the same."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synflow_bench.pruning import Examples, Masks, Problem
from synflow_bench_pruners.px import Px
from synflow_bench_pruners.synflow import SynFlowL2

Pose = Callable[..., Problem]


@pytest.fixture
def data() -> Examples:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(12, 3, generator=generator, dtype=torch.float64), torch.arange(12) % 2


def perceptron() -> nn.Sequential:
    """Without biases, so that every path begins at an input."""
    sizes = [(3, 4), (4, 3), (3, 2)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first, second, last = (nn.Linear(*size, bias=False, dtype=torch.float64) for size in sizes)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), last)


def thinned(problem: Problem) -> Problem:
    masks = {n: torch.arange(p.numel()).view(p.shape) % 4 != 0 for n, p in problem.parameters.items()}
    return problem.at(Masks(masks), density=0.5, round=2)


def test_scores_are_sums_over_paths(data: Examples, pose: Pose) -> None:
    problem = thinned(pose(perceptron(), (3,), num_classes=2, examples=data))
    model, matrices = problem.model, [p.detach() for p in problem.parameters.values()]
    gates = [model[:2](data[0]) > 0, model[:4](data[0]) > 0]
    units = list(product(range(3), range(4), range(3), range(2)))
    active, squares = torch.zeros(2, dtype=torch.float64), {}
    for path in units:
        i, a, b, k = path
        weights = torch.stack([matrices[0][a, i], matrices[1][b, a], matrices[2][k, b]])
        squares[path] = weights.square().prod()
        if bool((weights != 0).all()):
            active[k] += (data[0][:, i].square() * gates[0][:, a] * gates[1][:, b]).sum()
    expected = [torch.zeros_like(matrix) for matrix in matrices]
    for (i, a, b, k), square in squares.items():
        for matrix, place in zip(expected, ((a, i), (b, a), (k, b)), strict=True):
            matrix[place] += active[k] * square / active.max()
    for score, wanted in zip(Px().score(problem).values(), expected, strict=True):
        assert torch.allclose(score, wanted, rtol=1e-12, atol=0)
    assert len({float(entry) for entry in active}) == 2


def test_the_first_round_ranks_as_synflow_l2(pose: Pose) -> None:
    """While no weight of the classifier is removed, all its outputs have the same active paths."""
    model = nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)),
    ).double()
    inputs = torch.randn(9, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    problem = pose(model, (1, 8, 8), examples=(inputs, torch.arange(9) % 3))
    mine = list(Px().score(problem).values())
    theirs = list(SynFlowL2().score(pose(model, (1, 8, 8))).values())
    scale = theirs[0].sum() / mine[0].sum()
    for score, other in zip(mine, theirs, strict=True):
        assert torch.allclose(score * scale, other, rtol=1e-10)


class Activated(nn.Module):
    """A perceptron with the activation in one of its forms."""

    def __init__(self, activate: Callable[[Tensor], Any], layers: nn.Sequential) -> None:
        super().__init__()
        self.activate, self.layers = activate, layers

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.layers[0](x)
        given = self.activate(hidden)
        out: Tensor = self.layers[4](self.layers[3](self.layers[2](hidden if given is None else given)))
        return out


def in_place(hidden: Tensor) -> None:
    F.relu(hidden, inplace=True)


@pytest.mark.parametrize(
    "activate", [torch.relu, Tensor.relu_, in_place, F.relu6, F.elu, nn.LeakyReLU(0.2), nn.ReLU(inplace=True)]
)
def test_every_form_of_an_activation_that_opens_above_zero_has_the_same_scores(
    activate: Callable[[Tensor], Any], data: Examples, pose: Pose
) -> None:
    layers = perceptron()
    plain, other = (
        Px().score(thinned(pose(Activated(form, layers), (3,), num_classes=2, examples=data)))
        for form in (F.relu, activate)
    )
    same = activate is torch.relu or getattr(activate, "__name__", "") in {"relu_", "in_place"}
    for name in plain:
        # Another activation has other gates behind it, but scores of the same size.
        assert torch.allclose(plain[name], other[name], rtol=1e-12 if same else 0.5)


def test_scores_that_overflow_in_float32_are_taken_in_float64(pose: Pose) -> None:
    layers = [layer for _ in range(24) for layer in (nn.Linear(100, 100), nn.ReLU())]
    examples = torch.randn(6, 100), torch.arange(6) % 3
    problem = pose(nn.Sequential(*layers, nn.Linear(100, 3)), (100,), examples=examples)
    scored, masks = problem.at(problem.masks, density=0.1, round=1).keep(Px().score)
    assert scored.dtype is torch.float64
    assert masks.kept == round(0.1 * masks.size)
