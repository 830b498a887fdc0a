"""Scores and counts of every method against its official code or formula, on one small network.

`data/official.json` holds figures only. A figure of scores is, per layer, the sum of absolute values, the sum
of squares, and the sum of the scores times their numbers from 1 on, which a permutation changes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from synflow_bench.errors import NotDefinedError
from synflow_bench.pruning import Examples, Masks, Problem, Pruner, resolve_pruner, run_pruner
from synflow_bench.suites import PrunerSpec
from synflow_bench_pruners.npb import Npb
from synflow_bench_pruners.ntk_sap import Draw, sensitivities
from synflow_bench_pruners.plugin import synflow_bench_pruners
from synflow_bench_pruners.taylor import Hts

Case = dict[str, Any]
CASES: list[Case] = json.loads((Path(__file__).parent / "data" / "official.json").read_text())["cases"]
SHAPE = (3, 8, 8)


def named(case: Case) -> str:
    return "-".join(map(str, filter(None, (case["pruner"], case.get("compression")))))


def cases(key: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", [case for case in CASES if key in case], ids=named)


@pytest.fixture
def net() -> nn.Module:
    """The small network, with weights from a generator that is the same in all versions of numpy."""
    model = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)),
    ).double()
    draws = np.random.RandomState(0)
    for name, parameter in model.named_parameters():
        drawn = torch.from_numpy(draws.standard_normal(tuple(parameter.shape)))
        scale = parameter.dim() == 1 and name.endswith("weight")
        parameter.data.copy_(1 + 0.1 * drawn if scale else 0.3 * drawn)
    return model


@pytest.fixture
def data() -> Examples:
    inputs = torch.from_numpy(np.random.RandomState(1).standard_normal((50, *SHAPE)))
    return inputs, torch.arange(50) // 10


@pytest.fixture
def pruner(case: Case, pruner_class: Callable[[str], type[Pruner]]) -> Pruner:
    spec = PrunerSpec.model_validate(case["pruner"])
    return resolve_pruner(pruner_class(spec.name), spec)[0]


def test_every_method_has_figures() -> None:
    # Those that change masks in training are in test_official_in_training.py.
    others = {"gmp", "set", "rigl", "edge-popup"}
    assert {case["pruner"].partition("[")[0] for case in CASES} == set(synflow_bench_pruners()) - others


def facts(scores: dict[str, Tensor], kind: str | None, average: float) -> list[list[float]]:
    """The figures of scores; some codes divide them by the number of examples or by their sum."""
    tensors = [score.detach().double() / average for score in scores.values()]
    if kind:
        tensors = [score / torch.cat([t.flatten() for t in tensors]).sum().abs() for score in tensors]
    return [
        [
            float(score.abs().sum()),
            float(score.square().sum()),
            float((score.flatten() * torch.arange(1, score.numel() + 1)).sum()),
        ]
        for score in tensors
    ]


def thinned(problem: Problem, every: int) -> Problem:
    """Keep one weight in `every`."""
    masks = {n: torch.arange(p.numel()).view(p.shape) % every == 0 for n, p in problem.parameters.items()}
    return problem.at(Masks(masks), density=0.5, round=2)


def with_given_probes(pruner: Pruner, problem: Problem) -> dict[str, Tensor]:
    """The scores of `hts` with probes that are the same in all versions of numpy."""
    assert isinstance(pruner, Hts)
    draws, shapes = np.random.RandomState(2), [p.shape for p in problem.parameters.values()]
    return pruner.with_probes(
        problem, lambda: [torch.from_numpy(draws.choice([-1.0, 1.0], size=tuple(s))) for s in shapes]
    )


class InHalves(Problem):
    """A problem whose data come twenty-five at a time."""

    batch_size = 25


@cases("scores")
def test_scores_are_those_of_the_official_code(
    case: Case, net: nn.Module, data: Examples, pruner: Pruner
) -> None:
    kind = InHalves if case.get("batch") else Problem
    examples = data if pruner.needs_data else None
    generator = torch.Generator().manual_seed(0)
    problem = kind.of(net, input_shape=SHAPE, num_classes=5, generator=generator, examples=examples)
    if case.get("draw"):
        draws, weights = np.random.RandomState(2), dict(problem.model.named_parameters())
        perturbed = {
            name: p.detach() + 0.01 * torch.from_numpy(draws.standard_normal(tuple(p.shape)))
            for name, p in problem.parameters.items()
        }
        draw = Draw({name: p.detach() for name, p in weights.items()}, perturbed, data[0])
        scores = dict(zip(problem.parameters, sensitivities(problem, draw), strict=True))
    else:
        problem = thinned(problem, case["every"]) if case.get("every") else problem
        scores = dict(with_given_probes(pruner, problem) if case.get("probes") else pruner.score(problem))
    found = facts(scores, case.get("normalized"), case.get("average", 1))
    for mine, official in zip(found, case["scores"], strict=True):
        assert mine == pytest.approx(official, rel=1e-8)


@cases("within")
def test_counts_are_those_of_the_official_code(
    case: Case, net: nn.Module, pruner: Pruner, pose: Callable[..., Problem]
) -> None:
    kept = run_pruner(pruner, pose(net, SHAPE, num_classes=5), 1 / case["compression"]).masks.layer_kept
    allowed = case["within"] if isinstance(case["within"], list) else [case["within"]] * len(kept)
    for mine, official, most in zip(kept.values(), case["kept"], allowed, strict=True):
        assert abs(mine - official) <= most


@cases("layers")
def test_layers_reach_the_objective_of_the_official_solver(
    case: Case, balance_of: Callable[[Npb, Tensor, Tensor], float]
) -> None:
    for layer in case["layers"]:
        pruner = Npb(alpha=layer["alpha"], beta=layer["beta"])
        paths = torch.tensor(layer["paths"], dtype=torch.float64)
        allowed = torch.ones(layer["shape"], dtype=torch.bool)
        mask = pruner.balance(allowed, paths, layer["kept"], torch.Generator().manual_seed(0))[0]
        assert int(mask.sum()) == layer["kept"]
        assert balance_of(pruner, mask, paths) == pytest.approx(layer["objective"], rel=1e-9)


@cases("undefined")
def test_is_not_defined_where_the_official_code_refuses(
    case: Case, net: nn.Module, pruner: Pruner, pose: Callable[..., Problem]
) -> None:
    with pytest.raises(NotDefinedError):
        run_pruner(pruner, pose(net, SHAPE, num_classes=5), 1 / case["compression"])


@cases("spread")
def test_random_masks_keep_as_many_weights_of_each_layer_as_those_of_the_official_code(
    case: Case, net: nn.Module, pruner: Pruner, pose: Callable[..., Problem]
) -> None:
    """Both are means of random masks; the official masks of `phew` are up to one walk larger."""
    runs, longest, density = 40, len(case["kept"]), 1 / case["compression"]
    masks = [run_pruner(pruner, pose(net, SHAPE, seed=seed), density).masks for seed in range(runs)]
    counts = [list(each.layer_kept.values()) for each in masks]
    for mine, official, spread in zip(np.mean(counts, axis=0), case["kept"], case["spread"], strict=True):
        assert mine == pytest.approx(official, abs=4 * spread / runs**0.5 + longest / 2)
