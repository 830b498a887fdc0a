"""Layer densities by closed forms, the laws of sharing, and the common rules of random masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from math import isclose, prod

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from torch import nn

from synflow_bench import Masks, Problem, Pruner
from synflow_bench.errors import NotDefinedError, UsageError
from synflow_bench.pruning import apportion, round_shares, run_pruner
from synflow_bench.suites import PruningOptions
from synflow_bench_models.resnet import lottery_resnet20 as resnet20
from synflow_bench_models.small import fc
from synflow_bench_pruners.layer_densities import (
    Balanced,
    Erk,
    Igq,
    RandomInLayers,
    Uniform,
    UniformPlus,
    draw,
    fill,
    root,
)

Pose = Callable[..., Problem]
COMPRESSIONS = [1.5, 2, 10, 100, 1000]
EVERYTHING = PruningOptions(prune_bias=True, prune_batchnorm=True)
Layers = list[tuple[float, int]]
LAYERS = st.lists(st.tuples(st.floats(1e-3, 1e3), st.integers(1, 10_000)), min_size=1, max_size=8)
FRACTION = st.just(0.0) | st.floats(1e-12, 1)  # of a subnormal total no shares are proportional
ClassOf = Callable[[str], type[Pruner]]
NAMES = ["uniform", "uniform-plus", "erk", "igq", "balanced", "smart-ratio"]
SHAPE = (3, 32, 32)


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


def test_uniform_plus_is_not_defined_where_the_spared_layers_are_more_than_all(
    resnet: nn.Module, pose: Pose
) -> None:
    """The first convolution has 432 weights, and a fifth of the last layer 128."""
    problem = pose(resnet, (3, 32, 32))
    assert sum(UniformPlus().shares(problem, 560).values()) == pytest.approx(560)
    with pytest.raises(NotDefinedError, match="spares 560 weights"):
        UniformPlus().prune(problem, 559 / problem.masks.size)


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


def split(layers: Layers) -> tuple[dict[str, float], dict[str, int]]:
    """Weights and limits by name."""
    names = [f"layer{i}" for i in range(len(layers))]
    weights = {name: weight for name, (weight, _) in zip(names, layers, strict=True)}
    return weights, {name: limit for name, (_, limit) in zip(names, layers, strict=True)}


@given(LAYERS, FRACTION)
def test_filling_is_proportional_where_no_limit_is_met(layers: Layers, fraction: float) -> None:
    weights, most = split(layers)
    total = fraction * sum(most.values())
    shares = fill(weights, total, most)
    assert sum(shares.values()) == pytest.approx(total, rel=1e-9, abs=1e-9)
    assert all(0 <= shares[name] <= most[name] for name in most)
    scales = {name: shares[name] / weights[name] for name in most}
    open_scales = [scales[name] for name in most if shares[name] < most[name]]
    for scale in open_scales:
        assert isclose(scale, open_scales[0], rel_tol=1e-9)
    for name in most:
        if shares[name] == most[name] and open_scales:
            assert scales[name] <= open_scales[0] * (1 + 1e-9)


def test_filling_respects_floors() -> None:
    shares = fill({"a": 1, "b": 1, "c": 2}, 10, {"a": 100, "b": 100, "c": 3}, {"a": 5})
    assert shares == pytest.approx({"a": 5, "b": 2, "c": 3})


def test_filling_to_the_brim_and_with_nothing() -> None:
    most = {"a": 3, "b": 4}
    assert fill({"a": 1, "b": 9}, 7, most) == most
    assert fill({"a": 1, "b": 9}, 0, most) == {"a": 0, "b": 0}


@given(LAYERS, FRACTION)
def test_whole_numbers_sum_exactly_and_stay_within_one_of_the_shares(layers: Layers, fraction: float) -> None:
    weights, most = split(layers)
    total = round(fraction * sum(most.values()))
    shares = fill(weights, total, most)
    numbers = round_shares(shares, total, most)
    assert sum(numbers.values()) == total
    for name, number in numbers.items():
        assert number <= most[name]
        assert abs(number - shares[name]) < 1 + 1e-6


def test_the_largest_remainders_are_rounded_up() -> None:
    most = dict.fromkeys("abc", 10)
    assert round_shares({"a": 1.2, "b": 2.5, "c": 3.3}, 7, most) == {"a": 1, "b": 3, "c": 3}
    assert round_shares({"a": 1.5, "b": 2.5, "c": 3.0}, 7, most) == {"a": 2, "b": 2, "c": 3}


def test_a_root_is_found_to_the_last_digit() -> None:
    assert root(lambda x: x**3, 2.0, 10.0) == pytest.approx(2 ** (1 / 3), rel=1e-15)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return resnet20(SHAPE, 10)


class FirstOnly(RandomInLayers):
    """Everything to the layers in turn: a rule that is easy to follow by hand."""

    def shares(self, problem: Problem, total: int) -> Mapping[str, float]:
        kept = {}
        for name, room in problem.masks.layer_kept.items():
            kept[name] = float(min(room, total))
            total -= int(kept[name])
        return kept


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("compression", [1, 1.01, 2, 10, 100, 1000, 270_896])
def test_keeps_exactly_the_density(
    name: str, compression: float, model: nn.Module, pruner_class: ClassOf, pose: Pose
) -> None:
    least = {"uniform-plus": 560, "smart-ratio": 193}.get(name, 1)
    problem = pose(model, SHAPE)
    if round(problem.masks.size / compression) < least:
        with pytest.raises(NotDefinedError, match=name):
            run_pruner(pruner_class(name)(), problem, 1 / compression)
        return
    masks = run_pruner(pruner_class(name)(), problem, 1 / compression).masks
    assert masks.kept == round(masks.size / compression)


@pytest.mark.parametrize("name", NAMES)
def test_local_scope_is_one_density_for_all(
    name: str, model: nn.Module, pruner_class: ClassOf, pose: Pose
) -> None:
    masks = run_pruner(
        pruner_class(name)(), pose(model, SHAPE, options=PruningOptions(scope="local")), 0.03
    ).masks
    assert masks.layer_kept == apportion({layer: mask.numel() for layer, mask in masks.items()}, 0.03)


@pytest.mark.parametrize("name", NAMES)
def test_inverted_keeps_what_the_rule_would_remove(
    name: str, model: nn.Module, pruner_class: ClassOf, pose: Pose
) -> None:
    density = 0.25
    kept = run_pruner(pruner_class(name)(), pose(model, SHAPE), 1 - density).masks
    inverted = run_pruner(pruner_class(name)(), pose(model, SHAPE, invert=True), density).masks
    assert inverted.kept == kept.size - kept.kept
    for layer, mask in kept.items():
        assert inverted.layer_kept[layer] == mask.numel() - kept.layer_kept[layer]


@pytest.mark.parametrize("name", NAMES)
def test_a_smaller_network_is_pruned_further(
    name: str, model: nn.Module, pruner_class: ClassOf, pose: Pose
) -> None:
    """Levels of pruning, one on top of the other: what is gone stays gone."""
    problem = pose(model, SHAPE)
    before = run_pruner(pruner_class(name)(), problem, 0.1).masks
    after = run_pruner(pruner_class(name)(), problem.at(before, density=0.1, round=1), 0.09).masks
    assert after.kept == round(0.09 * after.size)
    assert all(bool((after[layer] <= before[layer]).all()) for layer in after)


@pytest.mark.parametrize("name", NAMES)
def test_depends_on_its_own_generator_alone(
    name: str, model: nn.Module, pruner_class: ClassOf, pose: Pose
) -> None:
    def masks(seed: int) -> Masks:
        return pruner_class(name)().prune(pose(model, SHAPE, seed=seed), 0.1)

    first = masks(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        assert masks(1) == first
    other = masks(2)
    assert other != first
    assert other.layer_kept == first.layer_kept


@pytest.mark.parametrize("name", NAMES)
def test_asks_for_no_data(name: str, pruner_class: ClassOf) -> None:
    assert not pruner_class(name).needs_data


@pytest.mark.parametrize("name", NAMES)
def test_rounds_are_refused(name: str, pruner_class: ClassOf) -> None:
    with pytest.raises(UsageError, match="draws its masks at once: rounds=10 has no effect, leave it out"):
        pruner_class(name)(rounds=10)


@pytest.mark.parametrize(("name", "field"), [("uniform-plus", "last"), ("smart-ratio", "linear")])
@pytest.mark.parametrize("density", [-0.1, 1.5, float("nan")])
def test_a_density_that_is_none_is_refused(
    name: str, field: str, density: float, pruner_class: ClassOf
) -> None:
    with pytest.raises(UsageError, match=f"{field} is the density of a layer, from 0 to 1, not {density:g}"):
        pruner_class(name)(**{field: density})


def test_a_rule_of_ten_lines(pose: Pose) -> None:
    net = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 6))
    masks = run_pruner(FirstOnly(), pose(net, (4,)), 0.5).masks
    assert masks.layer_kept == {"0.weight": 20, "1.weight": 5}


def test_every_place_is_as_likely(pose: Pose) -> None:
    """2000 draws of 3 of 12: each place within five standard deviations of a quarter."""
    problem = pose(nn.Linear(4, 3), (4,))
    times = sum(draw(problem, {"weight": 3})["weight"].long() for _ in range(2000))
    assert isinstance(times, torch.Tensor)
    assert int(times.sum()) == 6000
    assert bool(((times - 500).abs() < 5 * (2000 * 0.25 * 0.75) ** 0.5).all())
