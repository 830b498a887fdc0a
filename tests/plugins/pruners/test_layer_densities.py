"""The densities of `uniform`, `uniform-plus`, `erk`, `igq`, `balanced` and `smart-ratio`, by closed forms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from math import prod

import pytest
import torch
from scipy.optimize import brentq
from torch import Tensor, nn

from synflow_bench import Problem
from synflow_bench.errors import PluginError
from synflow_bench.suites import PruningOptions
from synflow_bench_models.conv import conv
from synflow_bench_models.fc import fc
from synflow_bench_models.lottery_resnet import resnet20
from synflow_bench_pruners.balanced import Balanced
from synflow_bench_pruners.erk import Erk
from synflow_bench_pruners.igq import Igq
from synflow_bench_pruners.random_in_layers import RandomInLayers
from synflow_bench_pruners.smart_ratio import SmartRatio
from synflow_bench_pruners.uniform import Uniform
from synflow_bench_pruners.uniform_plus import UniformPlus

Pose = Callable[..., Problem]
COMPRESSIONS = [1.5, 2, 10, 100, 1000]
EVERYTHING = PruningOptions(prune_bias=True, prune_batchnorm=True)


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


@pytest.fixture(params=["resnet", "vgg"])
def problem(request: pytest.FixtureRequest, pose: Pose) -> Problem:
    problem: Problem = pose(request.getfixturevalue(request.param), (3, 32, 32))
    return problem


def shapes(problem: Problem) -> dict[str, tuple[int, ...]]:
    return {name: tuple(p.shape) for name, p in problem.parameters.items()}


def numbers(problem: Problem) -> dict[str, int]:
    return {name: p.numel() for name, p in problem.parameters.items()}


def shares(pruner: RandomInLayers, problem: Problem, compression: float) -> Mapping[str, float]:
    total = round(problem.masks.size / compression)
    found = pruner.shares(problem, total)
    assert sum(found.values()) == pytest.approx(total, rel=1e-12)
    return found


@pytest.mark.parametrize("compression", [1, *COMPRESSIONS])
@pytest.mark.parametrize("scope", ["global", "local"])
def test_uniform_gives_every_layer_the_same_density_to_the_weight(
    resnet: nn.Module, vgg: nn.Module, pose: Pose, compression: float, scope: str
) -> None:
    for model in (resnet, vgg):
        problem = pose(model, (3, 32, 32), options=PruningOptions.model_validate({"scope": scope}))
        masks = Uniform().prune(problem, 1 / compression)
        assert masks.kept == round(masks.size / compression)
        density = masks.kept / masks.size
        assert all(abs(int(m.sum()) - density * m.numel()) < 1 for m in masks.values())


def erk_by_elimination(shapes: Mapping[str, tuple[int, ...]], total: float) -> dict[str, float]:
    """Solve for eps, make the densest layer dense if it is more than dense, and again."""
    dense: set[str] = set()
    while True:
        left = total - sum(prod(shapes[name]) for name in dense)
        eps = left / sum(sum(shape) for name, shape in shapes.items() if name not in dense)
        density = {n: 1.0 if n in dense else eps * sum(s) / prod(s) for n, s in shapes.items()}
        worst = max(density, key=lambda name: density[name])
        if density[worst] <= 1:
            return {name: density[name] * prod(shape) for name, shape in shapes.items()}
        dense.add(worst)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_erk_makes_layers_over_one_dense_and_solves_again(problem: Problem, compression: float) -> None:
    expected = erk_by_elimination(shapes(problem), round(problem.masks.size / compression))
    assert shares(Erk(), problem, compression) == pytest.approx(expected, rel=1e-9)


def test_erk_has_dense_layers_at_low_compression_and_keeps_them_dense_as_whole_numbers(
    resnet: nn.Module, pose: Pose
) -> None:
    problem = pose(resnet, (3, 32, 32))
    masks, expected = Erk().prune(problem, 0.5), shares(Erk(), problem, 2)
    dense = [name for name, n in numbers(problem).items() if expected[name] == n]
    assert "stem.conv.weight" in dense
    assert 1 < len(dense) < len(masks)
    assert all(bool(masks[name].all()) for name in dense)


@pytest.mark.parametrize("compression", [10, 100])
def test_erk_keeps_vectors_whole_before_anything_else(
    resnet: nn.Module, pose: Pose, compression: int
) -> None:
    problem = pose(resnet, (3, 32, 32), options=EVERYTHING)
    found = shares(Erk(), problem, compression)
    densities = {name: found[name] / n for name, n in numbers(problem).items()}
    vectors = {densities[name] for name, p in problem.parameters.items() if p.dim() == 1}
    assert len({round(density, 9) for density in vectors}) == 1
    assert min(vectors) >= max(densities.values()) * (1 - 1e-12)


@pytest.mark.parametrize("compression", [1.01, *COMPRESSIONS])
def test_igq_is_the_force_that_compresses_to_the_budget(problem: Problem, compression: float) -> None:
    sizes = numbers(problem)
    total = round(problem.masks.size / compression)
    force = brentq(
        lambda f: sum(n / (f * n + 1) for n in sizes.values()) - total, 0, len(sizes) / total, xtol=1e-18
    )
    expected = {name: n / (force * n + 1) for name, n in sizes.items()}
    assert shares(Igq(), problem, compression) == pytest.approx(expected, rel=1e-6)


def test_igq_is_dense_at_compression_one(problem: Problem) -> None:
    assert shares(Igq(), problem, 1) == numbers(problem)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_balanced_serves_the_smallest_layers_first(problem: Problem, compression: float) -> None:
    left, expected = float(round(problem.masks.size / compression)), {}
    ascending = sorted(numbers(problem).items(), key=lambda item: item[1])
    for served, (name, n) in enumerate(ascending):
        expected[name] = min(n, left / (len(ascending) - served))
        left -= expected[name]
    assert shares(Balanced(), problem, compression) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("compression", [1.1, 2, 4, 10, 100])
def test_uniform_plus_spares_the_first_convolution_and_the_last_layer(
    problem: Problem, compression: float
) -> None:
    sizes = numbers(problem)
    first, *middle, last = sizes
    total = round(problem.masks.size / compression)
    even = (total - sizes[first]) / (problem.masks.size - sizes[first])
    floor = max(0.2, even)
    rest = (total - sizes[first] - floor * sizes[last]) / sum(sizes[name] for name in middle)
    expected = {first: sizes[first], **{n: rest * sizes[n] for n in middle}, last: floor * sizes[last]}
    assert shares(UniformPlus(), problem, compression) == pytest.approx(expected, rel=1e-9)


def test_uniform_plus_leaves_half_to_the_others(resnet: nn.Module, pose: Pose) -> None:
    """Of 271 weights the first convolution alone would take 432, as the paper has it."""
    problem = pose(resnet, (3, 32, 32))
    found = shares(UniformPlus(), problem, 1000)
    spared = found["stem.conv.weight"] + found["classifier.weight"]
    assert spared == pytest.approx(271 / 2)
    masks = UniformPlus().prune(problem, 1 / 1000)
    assert min(masks.layer_kept["stage3.0.conv1.weight"], masks.layer_kept["stage1.0.conv1.weight"]) > 0


def test_uniform_plus_spares_no_first_linear_layer(pose: Pose) -> None:
    problem = pose(fc((1, 8, 8), 10), (1, 8, 8))
    found, sizes = shares(UniformPlus(), problem, 20), numbers(problem)
    *others, last = sizes
    assert found[last] == pytest.approx(0.2 * sizes[last])
    assert len({round(found[name] / sizes[name], 9) for name in others}) == 1


def test_uniform_plus_does_not_take_a_convolution_for_a_classifier_left_dense(
    resnet: nn.Module, pose: Pose
) -> None:
    problem = pose(resnet, (3, 32, 32), options=PruningOptions(dense_classifier=True))
    found, sizes = shares(UniformPlus(), problem, 50), numbers(problem)
    first, *others = sizes
    assert found[first] == sizes[first]
    assert len({round(found[name] / sizes[name], 9) for name in others}) == 1


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


def test_a_large_classifier_takes_at_most_half(pose: Pose) -> None:
    """0.3 of this classifier is more than twice all that is kept."""
    problem = pose(conv((1, 28, 28), 10), (1, 28, 28))
    found = shares(SmartRatio(), problem, 100)
    *convolutions, classifier = found
    assert found[classifier] == pytest.approx(round(problem.masks.size / 100) / 2)
    assert all(found[name] > 0 for name in convolutions)


def test_without_convolutions_only_the_last_layer_has_the_linear_share(pose: Pose) -> None:
    problem = pose(fc((1, 8, 8), 10), (1, 8, 8))
    sizes = numbers(problem)
    densities = [share / sizes[name] for name, share in shares(SmartRatio(), problem, 20).items()]
    assert densities[-1] == pytest.approx(0.3)
    assert densities[:-1] == sorted(densities[:-1], reverse=True)
    assert densities[0] / densities[1] == pytest.approx((6 * 7) / (5 * 6 / 4))


def test_vectors_go_with_the_weights_before_them(resnet: nn.Module, pose: Pose) -> None:
    problem = pose(resnet, (3, 32, 32), options=EVERYTHING)
    found, sizes = shares(SmartRatio(), problem, 100), numbers(problem)
    densities = {name: found[name] / n for name, n in sizes.items()}
    assert densities["stage1.0.bn1.weight"] == pytest.approx(densities["stage1.0.conv1.weight"])
    assert densities["classifier.bias"] == pytest.approx(densities["classifier.weight"]) == 0.3
    assert densities["stage2.0.shortcut.bn.bias"] == pytest.approx(densities["stage2.0.shortcut.conv.weight"])
