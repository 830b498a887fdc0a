"""Masks that are drawn: their law, and what they take over from the pruner that gives the scores."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import permutations

import pytest
import torch
from torch import Tensor, nn

from synflow_bench.errors import ScoreError, UnknownNameError, UsageError
from synflow_bench.pruning import Problem, run_pruner
from synflow_bench_pruners.magnitude import Magnitude
from synflow_bench_pruners.sampled import Sampled, drawn_keys

Pose = Callable[..., Problem]
DRAWS = 4000


@pytest.fixture
def problem(pose: Pose) -> Problem:
    return pose(nn.Linear(4, 2), (4,), num_classes=2)


def pairs(problem: Problem, scores: Tensor) -> dict[frozenset[int], float]:
    """The share of draws that keep each pair of places."""
    found: dict[frozenset[int], float] = {}
    for _ in range(DRAWS):
        keys = drawn_keys(problem, {"weight": scores})["weight"]
        pair = frozenset(keys.topk(2).indices.tolist())
        found[pair] = found.get(pair, 0) + 1 / DRAWS
    return found


def test_pairs_are_drawn_one_after_the_other_in_proportion_to_their_scores(problem: Problem) -> None:
    scores = torch.tensor([1.0, 2.0, 3.0, 6.0])
    expected: dict[frozenset[int], float] = {}
    for first, second in permutations(range(4), 2):
        chance = float(scores[first] / scores.sum() * scores[second] / (scores.sum() - scores[first]))
        expected[frozenset((first, second))] = expected.get(frozenset((first, second)), 0) + chance
    found = pairs(problem, scores)
    for pair, chance in expected.items():
        assert found[pair] == pytest.approx(chance, abs=5 * (chance * (1 - chance) / DRAWS) ** 0.5)


def test_scores_of_zero_or_less_come_last_in_random_order(problem: Problem) -> None:
    found = pairs(problem, torch.tensor([0.0, -5.0, 1e-30, 0.0]))
    assert all(2 in pair for pair in found)
    assert len(found) == 3
    assert all(share == pytest.approx(1 / 3, abs=0.05) for share in found.values())


def test_masks_differ_from_seed_to_seed_and_hold_on_to_large_scores(pose: Pose) -> None:
    model = nn.Linear(40, 25)
    masks = [run_pruner(Sampled(of="magnitude"), pose(model, (40,), seed=s), 0.2).masks for s in (1, 1, 2)]
    assert masks[0] == masks[1] != masks[2]
    kept = masks[0]["weight"]
    assert float(model.weight.detach().abs()[kept].mean()) > 1.15 * float(model.weight.detach().abs().mean())


@pytest.mark.parametrize(("of", "data"), [("snip", True), ("magnitude", False), ("synflow[rounds=2]", False)])
def test_needs_data_where_the_other_does(of: str, data: bool) -> None:
    assert Sampled(of=of).needs_data is data
    assert Sampled.needs_data is True


@pytest.mark.parametrize("of", ["synflow[rounds=3]", "iter-snip[rounds=3]", "force[rounds=3]", "snip"])
def test_runs_the_rounds_of_the_other(of: str, pose: Pose) -> None:
    model = nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 3))
    examples = torch.randn(9, 12, generator=torch.Generator().manual_seed(0)), torch.arange(9) % 3
    masks = run_pruner(Sampled(of=of), pose(model, (12,), examples=examples), 0.1).masks
    assert masks.kept == round(0.1 * masks.size)


def test_layers_without_scores_are_reported_as_those_of_the_other(pose: Pose) -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))
    nn.init.zeros_(model[2].weight)
    found = [run_pruner(p, pose(model, (6,)), 0.5).warnings for p in (Magnitude(), Sampled(of="magnitude"))]
    assert found[0] == found[1] != ()


def test_scores_that_are_not_finite_are_refused(problem: Problem) -> None:
    with pytest.raises(ScoreError, match="not finite"):
        _ = problem.keep(lambda posed: drawn_keys(posed, {"weight": torch.full((2, 4), torch.nan)}))


@pytest.mark.parametrize("of", ["gmp", "rigl", "set", "edge-popup"])
def test_a_pruner_that_changes_its_masks_in_training_is_refused(of: str) -> None:
    with pytest.raises(UsageError, match=f"of={of}: .* in training"):
        Sampled(of=of)


def test_an_unknown_pruner_is_named() -> None:
    with pytest.raises(UnknownNameError, match="snap"):
        Sampled(of="snap")


def test_draws_do_not_depend_on_the_names_of_layers(pose: Pose) -> None:
    """Nor on the process, in which a set of names has an order of its own."""
    layers = [nn.Linear(6, 6) for _ in range(6)]
    masks = []
    for names in ("abcdef", "uvwxyz", "fedcba"):
        model = nn.Sequential(OrderedDict(zip(names, layers, strict=True)))
        found = run_pruner(Sampled(of="magnitude"), pose(model, (6,), num_classes=6), 0.4).masks
        masks.append(torch.stack(list(found.values())))
    assert all(torch.equal(each, masks[0]) for each in masks)
