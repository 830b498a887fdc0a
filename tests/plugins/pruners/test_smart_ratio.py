"""`smart-ratio` by closed forms: both formulas, and which one a network gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from synflow_bench import Problem
from synflow_bench.errors import NotDefinedError, PluginError
from synflow_bench.suites import PruningOptions
from synflow_bench_models.resnet import lottery_resnet20 as resnet20
from synflow_bench_models.small import conv, fc
from synflow_bench_pruners.layer_densities import (
    RandomInLayers,
)
from synflow_bench_pruners.smart_ratio import SmartRatio, pass_on

Pose = Callable[..., Problem]
EVERYTHING = PruningOptions(prune_bias=True, prune_batchnorm=True)
Layers = list[tuple[float, int]]
LAYERS = st.lists(st.tuples(st.floats(1e-3, 1e3), st.integers(1, 10_000)), min_size=1, max_size=8)
FRACTION = st.just(0.0) | st.floats(1e-12, 1)  # of a subnormal total no shares are proportional


@pytest.fixture(scope="module")
def vgg() -> nn.Module:
    """Plain, with layers that grow as a VGG's do."""
    widths = (3, 16, 32, 32, 64, 64, 128)
    convolutions = [nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths)]
    return nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        return resnet20((3, 32, 32), 10)


def numbers(problem: Problem) -> dict[str, int]:
    return {name: p.numel() for name, p in problem.parameters.items()}


def shares(pruner: RandomInLayers, problem: Problem, compression: float) -> Mapping[str, float]:
    total = round(problem.masks.size / compression)
    found = pruner.shares(problem, total)
    assert sum(found.values()) == pytest.approx(total, rel=1e-12)
    return found


def falling(problem: Problem, compression: float, *, vgg: bool) -> dict[str, float]:
    """Smart ratios as a list of layers, what is too much moved on to the next, one layer after the other."""
    sizes = list(numbers(problem).values())
    depth, linear = len(sizes), 0.3 * sizes[-1]
    ratios = [k**2 + k for k in range(depth, 1, -1)]
    if vgg:
        ratios = [r / level**2 for level, r in enumerate(ratios, start=1)]  # type: ignore[misc]
    budget = round(sum(sizes) / compression) - linear
    scale = budget / sum(r * n for r, n in zip(ratios, sizes[:-1], strict=True))
    kept = [scale * r * n for r, n in zip(ratios, sizes[:-1], strict=True)]
    for i in range(depth - 2):
        if kept[i] > sizes[i]:
            kept[i + 1] += kept[i] - sizes[i]
            kept[i] = sizes[i]
    return dict(zip(problem.parameters, [*kept, linear], strict=True))


@pytest.mark.parametrize("compression", [2, 10, 100])
def test_smart_ratios_of_a_resnet(resnet: nn.Module, pose: Pose, compression: float) -> None:
    problem = pose(resnet, (3, 32, 32))
    expected = falling(problem, compression, vgg=False)
    assert shares(SmartRatio(), problem, compression) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("compression", [2, 10, 100, 150])
def test_smart_ratios_of_a_vgg(vgg: nn.Module, pose: Pose, compression: float) -> None:
    problem = pose(vgg, (3, 32, 32))
    expected = falling(problem, compression, vgg=True)
    assert shares(SmartRatio(), problem, compression) == pytest.approx(expected, rel=1e-9)


def test_the_formula_follows_the_network_unless_it_is_named(
    vgg: nn.Module, resnet: nn.Module, pose: Pose
) -> None:
    for model, own, other in ((vgg, "vgg", "resnet"), (resnet, "resnet", "vgg")):
        problem = pose(model, (3, 32, 32))
        automatic = shares(SmartRatio(), problem, 100)
        assert shares(SmartRatio(form=own), problem, 100) == automatic
        assert shares(SmartRatio(form=other), problem, 100) != automatic


def test_a_network_that_cannot_be_traced_is_taken_for_a_resnet(pose: Pose) -> None:
    class Choosy(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            if x.sum() > 0:
                raise PluginError("traced")
            out: Tensor = super().forward(x)
            return out

    layers = [nn.Conv1d(2, 30, 3), nn.Conv1d(30, 30, 3), nn.Flatten(), nn.Linear(60, 3)]
    problem = pose(Choosy(*layers), (2, 6))
    assert shares(SmartRatio(), problem, 10) == shares(SmartRatio(form="resnet"), problem, 10)


def test_is_not_defined_where_nothing_is_left_for_convolutions(pose: Pose) -> None:
    """0.3 of the classifier's 250,880 weights: the official code gives convolutions a negative number."""
    problem = pose(conv((1, 28, 28), 10), (1, 28, 28))
    assert sum(SmartRatio().shares(problem, 75_265).values()) == pytest.approx(75_265)
    with pytest.raises(NotDefinedError, match="75264 weights, and nothing of the 75264 to keep"):
        SmartRatio().shares(problem, 75_264)


@pytest.mark.parametrize("dense_classifier", [False, True])
def test_is_not_defined_without_convolutions(pose: Pose, dense_classifier: bool) -> None:
    options = PruningOptions(dense_classifier=dense_classifier)
    with pytest.raises(NotDefinedError, match="needs convolutions"):
        SmartRatio().prune(pose(fc((1, 8, 8), 10), (1, 8, 8), options=options), 0.5)


def test_vectors_go_with_the_weights_before_them(resnet: nn.Module, pose: Pose) -> None:
    problem = pose(resnet, (3, 32, 32), options=EVERYTHING)
    found, sizes = shares(SmartRatio(), problem, 100), numbers(problem)
    densities = {name: found[name] / n for name, n in sizes.items()}
    assert densities["stage1.0.bn1.weight"] == pytest.approx(densities["stage1.0.conv1.weight"])
    assert densities["classifier.bias"] == pytest.approx(densities["classifier.weight"]) == 0.3
    assert densities["stage2.0.shortcut.bn.bias"] == pytest.approx(densities["stage2.0.shortcut.conv.weight"])


def split(layers: Layers) -> tuple[dict[str, float], dict[str, int]]:
    """Weights and limits by name."""
    names = [f"layer{i}" for i in range(len(layers))]
    weights = {name: weight for name, (weight, _) in zip(names, layers, strict=True)}
    return weights, {name: limit for name, (_, limit) in zip(names, layers, strict=True)}


@given(LAYERS, FRACTION)
def test_passing_on_loses_nothing(layers: Layers, fraction: float) -> None:
    weights, most = split(layers)
    scale = fraction * sum(most.values()) / sum(weights.values())
    asked = {name: scale * weight for name, weight in weights.items()}
    kept = pass_on(asked, most)
    assert sum(kept.values()) == pytest.approx(sum(asked.values()), rel=1e-9)
    assert all(kept[name] <= most[name] for name in most)


def test_a_surplus_goes_to_the_next_layer_first_and_round_the_corner_last() -> None:
    assert pass_on({"a": 9.0, "b": 1.0, "c": 1.0}, {"a": 5, "b": 3, "c": 9}) == {"a": 5, "b": 3, "c": 3}
    assert pass_on({"a": 1.0, "b": 1.0, "c": 9.0}, {"a": 3, "b": 3, "c": 7}) == {"a": 3, "b": 1, "c": 7}
