"""Rounds on ever smaller networks keep the same weights as plain rounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import pytest
import torch
from torch import Tensor, nn

from synflow_bench import Problem
from synflow_bench.compaction import CompactNetwork
from synflow_bench.pruning import Masks, run_pruner
from synflow_bench.suites import PruningOptions
from synflow_bench_models.resnet import lottery_resnet20 as resnet20
from synflow_bench_pruners import synflow_rounds
from synflow_bench_pruners.synflow import SynFlow, SynFlowL2, total_flow

Pose = Callable[..., Problem]
SHAPE = (3, 16, 16)


@pytest.fixture
def compacted(monkeypatch: pytest.MonkeyPatch) -> list[CompactNetwork]:
    """Set the thresholds so that every network is compacted, and collect the compact networks."""
    found: list[CompactNetwork] = []
    original = synflow_rounds.compact

    def noted(*arguments: object) -> CompactNetwork | None:
        smaller = original(*arguments)  # type: ignore[arg-type]
        found.extend([] if smaller is None else [smaller])
        return smaller

    monkeypatch.setattr(synflow_rounds, "LARGE", 0)
    monkeypatch.setattr(synflow_rounds, "ROUNDS", 1)
    monkeypatch.setattr(synflow_rounds, "WORTH", 0.99)
    monkeypatch.setattr(synflow_rounds, "compact", noted)
    return found


def chain(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """Two convolutions and two linear layers."""
    images = [
        layer
        for inputs, outputs in ((input_shape[0], 24), (24, 48))
        for layer in (nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())
    ]
    return nn.Sequential(
        *images, nn.MaxPool2d(4), nn.Flatten(), nn.Linear(768, 40), nn.ReLU(), nn.Linear(40, num_classes)
    )


def build(factory: Callable[..., nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return factory(SHAPE, 10).double()


def plain_rounds(pruner: SynFlow, problem: Problem, density: float) -> Masks:
    """`score` in the harness's own rounds, on the whole network each time."""
    return pruner.in_rounds(problem, density, pruner.score)


def flow(pose: Pose, model: nn.Module, masks: Masks) -> Tensor:
    problem = pose(model, SHAPE).transformed(SynFlow().values)
    return total_flow(problem.at(masks, density=masks.density, round=1)).detach()


@pytest.mark.parametrize("factory", [resnet20, chain], ids=["resnet20", "chain"])
@pytest.mark.parametrize("pruner", [SynFlow(rounds=12), SynFlowL2(rounds=12)], ids=["synflow", "synflow-l2"])
def test_the_same_weights_are_kept_but_for_ties(
    pose: Pose, compacted: list[CompactNetwork], factory: Callable[..., nn.Module], pruner: SynFlow
) -> None:
    model = build(factory)
    found = run_pruner(pruner, pose(model, SHAPE), 0.01).masks
    assert compacted
    expected = plain_rounds(pruner, pose(model, SHAPE), 0.01)
    assert found.kept == expected.kept
    # Weights in a row, where units have one way in and one out, score alike: which of them goes is rounding.
    both = sum(int((found[name] & expected[name]).sum()) for name in expected)
    assert both > 0.99 * expected.kept
    torch.testing.assert_close(flow(pose, model, found), flow(pose, model, expected), rtol=1e-6, atol=0)


def test_few_rounds_without_ties_keep_exactly_the_same(pose: Pose, compacted: list[CompactNetwork]) -> None:
    model, pruner = build(chain), SynFlow(rounds=3)
    found = run_pruner(pruner, pose(model, SHAPE), 0.05).masks
    assert compacted
    assert found == plain_rounds(pruner, pose(model, SHAPE), 0.05)


def test_scores_that_need_float64_get_it_and_say_so(pose: Pose, compacted: list[CompactNetwork]) -> None:
    model = build(chain).float()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1e-9)
    pruned = run_pruner(SynFlow(rounds=12), pose(model, SHAPE), 0.01)
    assert compacted
    assert (pruned.score_dtype, pruned.masks.kept) == ("float64", round(0.01 * pruned.masks.size))


@pytest.mark.parametrize("case", ["local", "invert"])
def test_ranks_by_layer_and_inverted_ranks_see_the_whole_network(
    pose: Pose, compacted: list[CompactNetwork], monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    def refuse(*_: object) -> NoReturn:
        raise AssertionError("a network was compacted")

    monkeypatch.setattr(synflow_rounds, "compact", refuse)
    options = PruningOptions(scope="local" if case == "local" else "global")
    problem = pose(build(resnet20), SHAPE, options=options, invert=case == "invert")
    assert run_pruner(SynFlow(rounds=4), problem, 0.02).masks.kept == round(0.02 * problem.masks.size)


def test_a_network_that_cannot_be_traced_is_pruned_whole(pose: Pose, compacted: list[CompactNetwork]) -> None:
    class Sorted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(6, 40), nn.Linear(40, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            logits: Tensor = self.last(self.first(inputs).sort().values)
            return logits

    model = Sorted().double()
    masks = run_pruner(SynFlow(rounds=5), pose(model, (6,)), 0.1).masks
    assert not compacted
    assert masks == plain_rounds(SynFlow(rounds=5), pose(model, (6,)), 0.1)
