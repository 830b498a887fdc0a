"""NPB against a solver of integer programs, and its counts of paths against products of masks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from torch import Tensor, nn

from synflow_bench.errors import NotDefinedError
from synflow_bench.pruning import Problem, run_pruner
from synflow_bench.suites import PruningOptions
from synflow_bench_pruners.layer_densities import Erk
from synflow_bench_pruners.npb import Npb

Pose = Callable[..., Problem]
Balance = Callable[[Npb, Tensor, Tensor], float]


def best_of(pruner: Npb, shape: tuple[int, int, int], paths: Tensor, kept: int) -> float:
    """The largest objective, by integer programming over M, open kernels, reached inputs and outputs."""
    outputs, inputs, size = shape
    kernels = outputs * inputs
    most = float(paths.repeat_interleave(outputs * size).sort(descending=True).values[:kept].sum())
    gain = (1 - pruner.alpha) * np.tile(paths.numpy(), outputs) / most
    node = np.full(inputs + outputs, pruner.alpha / (inputs + outputs))
    gains = np.concatenate([gain, np.full(kernels, pruner.beta / kept), node])
    of_outputs, of_inputs = np.kron(np.eye(outputs), np.ones(inputs)), np.tile(np.eye(inputs), outputs)
    numbers = np.concatenate([np.eye(kernels), of_inputs, of_outputs])
    spent = np.concatenate([np.ones(kernels), np.zeros(len(gains) - kernels)])
    limits = [
        LinearConstraint(spent[None], kept, kept),
        LinearConstraint(np.hstack([numbers, -np.eye(len(numbers))]), 0, np.inf),
    ]
    upper = np.concatenate([np.full(kernels, size), np.ones(len(gains) - kernels)])
    found = milp(-gains, constraints=limits, bounds=Bounds(0, upper), integrality=np.ones(len(gains)))
    return float(-found.fun) + pruner.beta * (kept - kernels) / kept


@pytest.mark.parametrize("kept", [3, 7, 20, 41, 70])
@pytest.mark.parametrize(("alpha", "beta"), [(0.01, 1.0), (0.9, 0.0), (0.5, 0.3), (1.0, 0.0)])
def test_masks_maximize_the_objective(kept: int, alpha: float, beta: float, balance_of: Balance) -> None:
    pruner, shape = Npb(alpha=alpha, beta=beta), (5, 4, 4)
    draws = np.random.RandomState(kept)
    paths = torch.from_numpy(draws.randint(1, 20, size=4)).double()
    allowed = torch.ones(1, *shape, dtype=torch.bool)
    mask = pruner.balance(allowed, paths, kept, torch.Generator().manual_seed(kept))[0]
    assert int(mask.sum()) == kept
    assert balance_of(pruner, mask, paths) == pytest.approx(best_of(pruner, shape, paths, kept), abs=1e-9)


def test_kernels_keep_at_most_their_limit_where_the_density_allows_it() -> None:
    allowed, paths = torch.ones(1, 6, 5, 9, dtype=torch.bool), torch.arange(1.0, 6.0).double()
    for kept, most in ((60, 2), (100, 4)):
        mask = Npb(per_kernel=2).balance(allowed, paths, kept, torch.Generator().manual_seed(0))
        assert int(mask.sum()) == kept
        assert int(mask.sum(-1).max()) == most


def test_entries_that_may_not_be_kept_are_not() -> None:
    allowed = torch.arange(2 * 4 * 3 * 9).view(2, 4, 3, 9) % 3 == 0
    paths = torch.ones(6, dtype=torch.float64)
    mask = Npb().balance(allowed, paths, 40, torch.Generator().manual_seed(0))
    assert int(mask.sum()) == 40
    assert not bool((mask & ~allowed).any())


class Watched(Npb):
    """Records the numbers of paths that enter each layer."""

    def balance(self, allowed: Tensor, paths: Tensor, number: int, generator: torch.Generator) -> Tensor:
        RECORDED.append(paths)
        return super().balance(allowed, paths, number, generator)


RECORDED: list[Tensor] = []


class Residual(nn.Module):
    """With biases, normalization and activations, none of which makes or weighs a path."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Linear(6, 8), nn.BatchNorm1d(8)
        self.branch, self.layer_norm = nn.Linear(8, 8), nn.LayerNorm(8)
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.norm(self.stem(x)).relu()
        out: Tensor = self.last(hidden + torch.nn.functional.gelu(self.layer_norm(self.branch(hidden))))
        return out


def test_paths_are_counted_through_the_masks_before(pose: Pose) -> None:
    RECORDED.clear()
    masks = run_pruner(Watched(), pose(Residual(), (6,)), 0.3).masks
    stem, branch = masks["stem.weight"].double(), masks["branch.weight"].double()
    entered = stem @ torch.ones(6, dtype=torch.float64)
    expected = [torch.ones(6, dtype=torch.float64), entered, entered + branch @ entered]
    assert [paths.tolist() for paths in RECORDED] == [paths.tolist() for paths in expected]


@pytest.mark.parametrize("density", [0.5, 0.1, 0.02])
def test_layers_have_the_numbers_of_erk(density: float, pose: Pose) -> None:
    model = nn.Sequential(nn.Conv2d(2, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=4), nn.Flatten())
    model.append(nn.Linear(8 * 16, 3))
    mine, erk = (run_pruner(p, pose(model, (2, 8, 8)), density).masks for p in (Npb(), Erk()))
    assert mine.layer_kept == erk.layer_kept


def test_a_large_alpha_reaches_more_units_than_chance(pose: Pose) -> None:
    sizes = [(64, 64)] * 3
    model = nn.Sequential(*(nn.Linear(*size) for size in sizes), nn.Linear(64, 10))
    mine, erk = (
        run_pruner(p, pose(model, (64,), num_classes=10), 0.02).masks for p in (Npb(alpha=0.99), Erk())
    )

    def reached(masks: object) -> int:
        return sum(int(m.any(0).sum()) + int(m.any(1).sum()) for m in masks.values())  # type: ignore[attr-defined]

    assert reached(mine) > reached(erk)


def test_is_not_defined_where_the_number_of_paths_has_no_end(pose: Pose) -> None:
    model = nn.Sequential(*(nn.Linear(30, 30) for _ in range(230)), nn.Linear(30, 3))
    with pytest.raises(NotDefinedError, match="too many"):
        run_pruner(Npb(), pose(model, (30,)), 0.9)


class Multiplied(nn.Linear):
    """A linear layer in other words."""

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.t() + self.bias


def test_matrices_that_it_does_not_follow_are_named(pose: Pose) -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), Multiplied(8, 8), nn.Linear(8, 3))
    biases = PruningOptions(prune_bias=True)
    (warning,) = run_pruner(Npb(), pose(model, (6,), options=biases), 0.5).warnings
    assert "of layer '2.weight' at random" in warning
    model[2] = nn.Linear(8, 8)
    assert not run_pruner(Npb(), pose(model, (6,), options=biases), 0.5).warnings
