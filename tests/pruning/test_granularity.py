"""Groups of weights are kept as references with plain loops keep them, and as many as were asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from synflow_bench import Masks, Problem, PruningOptions
from synflow_bench.errors import HandledError
from synflow_bench.pruning import prunable_parameters, shuffle_masks
from synflow_bench.testing.networks import INPUT_SHAPE, ResidualNetwork, plain, seeded

Pose = Callable[..., Problem]
Entry = tuple[str, tuple[int, ...]]
Scores = dict[str, np.ndarray]


def selected(
    pose: Pose, model: nn.Module, scores: Mapping[str, Tensor], density: float, **options: Any
) -> Masks:
    """Keep by given scores."""
    invert = options.pop("invert", False)
    shape = options.pop("shape", INPUT_SHAPE)
    problem = pose(model, shape, options=PruningOptions(**options), invert=invert)
    return problem.at(problem.masks, density=density, round=1).keep(lambda _: scores)[1]


def drawn(model: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        n: torch.rand(p.shape, generator=generator)
        for n, p in prunable_parameters(model, PruningOptions()).items()
    }


def channels_of_plain() -> list[set[Entry]]:
    """The channels of `plain`: two convolutions, pooling to 4x4, and a linear classifier."""
    first = [
        {("conv1.weight", (c, i, y, x)) for i, y, x in product(range(2), range(3), range(3))}
        | {("conv2.weight", (o, c, y, x)) for o, y, x in product(range(16), range(3), range(3))}
        for c in range(8)
    ]
    second = [
        {("conv2.weight", (c, i, y, x)) for i, y, x in product(range(8), range(3), range(3))}
        | {("classifier.weight", (o, c * 16 + p)) for o, p in product(range(5), range(16))}
        for c in range(16)
    ]
    return first + second


def channels_of_residual() -> list[set[Entry]]:
    """The channels of `ResidualNetwork`: those of its stream, and those inside its block."""
    kernel = list(product(range(3), range(3)))
    stream = [
        {("stem.weight", (c, i, *k)) for i in range(2) for k in kernel}
        | {("conv2.weight", (c, i, *k)) for i in range(8) for k in kernel}
        | {("conv1.weight", (o, c, *k)) for o in range(8) for k in kernel}
        | {("classifier.weight", (o, c)) for o in range(5)}
        for c in range(8)
    ]
    inside = [
        {("conv1.weight", (c, i, *k)) for i in range(8) for k in kernel}
        | {("conv2.weight", (o, c, *k)) for o in range(8) for k in kernel}
        for c in range(8)
    ]
    return stream + inside


def kernels(model: nn.Module) -> list[set[Entry]]:
    return [
        {(name, (*unit, *k)) for k in np.ndindex(*p.shape[2:])}
        for name, p in prunable_parameters(model, PruningOptions()).items()
        for unit in np.ndindex(*p.shape[:2])
    ]


def reference(groups: list[set[Entry]], scores: Scores, wanted: int, how: str) -> dict[str, np.ndarray]:
    """Remove the groups with the least scores one by one; keep the best state of all."""
    rule = {"sum": np.sum, "mean": np.mean, "l2": np.linalg.norm}[how]
    values = [
        float(rule(np.array([scores[n][i] for n, i in sorted(group)], dtype=np.float64))) for group in groups
    ]
    kept = {name: np.ones(score.shape, dtype=bool) for name, score in scores.items()}
    best, distance = None, float("inf")
    for number in [None, *sorted(range(len(groups)), key=lambda g: values[g])]:
        for name, place in groups[number] if number is not None else ():
            kept[name][place] = False
        count = sum(int(mask.sum()) for mask in kept.values())
        if count and abs(count - wanted) <= distance:
            best, distance = {name: mask.copy() for name, mask in kept.items()}, abs(count - wanted)
    assert best is not None
    return best


def same(masks: Masks, expected: Mapping[str, np.ndarray]) -> bool:
    return all(np.array_equal(masks[name].numpy(), expected[name]) for name in masks)


CASES = {
    ("channel", "plain"): channels_of_plain,
    ("channel", "residual"): channels_of_residual,
    ("kernel", "plain"): lambda: kernels(seeded(plain)),
    ("kernel", "residual"): lambda: kernels(ResidualNetwork()),
}


@pytest.mark.parametrize("how", ["sum", "mean", "l2"])
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_whole_groups_are_those_of_a_plain_loop(case: tuple[str, str], how: str, pose: Pose) -> None:
    model = seeded(plain if case[1] == "plain" else ResidualNetwork)
    scores = drawn(model)
    size = sum(score.numel() for score in scores.values())
    arrays = {name: score.numpy() for name, score in scores.items()}
    for density in (0.7, 0.1):
        masks = selected(pose, model, scores, density, granularity=case[0], group_score=how)
        assert same(masks, reference(CASES[case](), arrays, round(density * size), how)), density


def loop_of_patterns(score: np.ndarray, n: int, m: int) -> np.ndarray:
    kept = np.zeros(score.shape, dtype=bool)
    for unit in range(score.shape[0]):
        for taps in np.ndindex(*score.shape[2:]):
            for start in range(0, score.shape[1], m):
                places = [(unit, i, *taps) for i in range(start, start + m)]
                for place in sorted(places, key=lambda place: -score[place])[:n]:
                    kept[place] = True
    return kept


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (1, 2), (3, 8)])
def test_patterns_are_those_of_a_plain_loop(n: int, m: int, pose: Pose) -> None:
    model = nn.Sequential(nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(32, 3))
    scores = drawn(model)
    masks = selected(pose, model, scores, n / m, granularity=f"{n}:{m}", shape=(8, 4, 4))
    assert same(masks, {name: loop_of_patterns(score.numpy(), n, m) for name, score in scores.items()})
    assert masks.kept * m == masks.size * n


def test_constant_fan_in_keeps_the_largest_of_every_unit_and_the_pruner_s_own_densities(pose: Pose) -> None:
    model, density = seeded(plain), 0.3
    scores = drawn(model)
    single = selected(pose, model, scores, density)
    masks = selected(pose, model, scores, density, granularity="fan-in")
    for name, mask in masks.items():
        rows, ranked = mask.flatten(1), scores[name].flatten(1)
        (number,) = set(rows.sum(1).tolist())
        assert abs(number - single.layer_kept[name] / len(rows)) < 1
        for row, score in zip(rows, ranked, strict=True):
            assert set(row.nonzero().flatten().tolist()) == set(
                score.argsort(descending=True)[:number].tolist()
            )
    assert abs(masks.kept - density * masks.size) <= max(len(mask) for mask in masks.values()) / 2 + 1


def test_equal_scores_are_kept_in_order(pose: Pose) -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    scores = {n: torch.ones_like(p) for n, p in drawn(model).items()}
    scores["0.weight"][0, 0] = 2  # else they rank nothing
    channels = selected(pose, model, scores, 0.5, granularity="channel", shape=(4,))
    assert channels["0.weight"].any(1).tolist() == 3 * [True] + 3 * [False]
    patterns = selected(pose, model, scores, 0.5, granularity="1:2", shape=(4,))
    assert patterns["0.weight"].tolist() == 6 * [[True, False, True, False]]


GRANULARITIES = ("kernel", "channel", "fan-in", "1:2", "2:4", "3:7")


@st.composite
def networks(draw: st.DrawFn) -> tuple[nn.Module, tuple[int, ...]]:
    """Small convolutional networks, plain or with shortcuts, groups or transposed layers."""
    width, inputs = draw(st.sampled_from([2, 4, 6, 8])), draw(st.integers(1, 3))
    kind = draw(st.sampled_from(["plain", "depthwise", "grouped", "transposed", "residual"]))
    middle = {
        "plain": lambda: nn.Conv2d(width, width, 3, padding=1),
        "depthwise": lambda: nn.Conv2d(width, width, 3, padding=1, groups=width),
        "grouped": lambda: nn.Conv2d(width, width, 1, groups=2),
        "transposed": lambda: nn.ConvTranspose2d(width, 2 * width, 3, padding=1, groups=2),
        "residual": lambda: Residual(width),
    }[kind]()
    last = 2 * width if kind == "transposed" else width
    layers = [nn.Conv2d(inputs, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), middle]
    return nn.Sequential(*layers, nn.AvgPool2d(4), nn.Flatten(), nn.Linear(last, 3)), (inputs, 4, 4)


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x).relu()


@settings(max_examples=40)
@given(
    built=networks(),
    granularity=st.sampled_from(GRANULARITIES),
    scope=st.sampled_from(["global", "local"]),
    density=st.floats(0.02, 0.99),
    seed=st.integers(0, 5),
)
def test_every_granularity_keeps_what_was_asked_or_names_what_it_cannot_divide(
    built: tuple[nn.Module, tuple[int, ...]], granularity: str, scope: str, density: float, seed: int
) -> None:
    model, shape = built
    options = PruningOptions(granularity=granularity, scope=scope)
    if options.pattern:
        density = options.pattern[0] / options.pattern[1]
    problem = Problem.of(
        model, input_shape=shape, num_classes=3, generator=torch.Generator(), options=options
    )
    refused = ""
    try:
        groups: Any = problem.groups
        groups.check_density(density, problem.masks)
    except HandledError as error:
        refused = str(error)
    if refused:
        assert repr(granularity) in refused
        return
    scores = drawn(problem.model, seed)
    masks = problem.at(problem.masks, density=density, round=1).keep(lambda _: scores)[1]
    assert groups.fault(masks, problem.masks, density) is None
    assert all(bool(masks[name].all()) for name in groups.whole)
    assert all(name in " ".join(groups.notes) for name in groups.whole)
    asked = max(1, round(density * masks.size))
    if options.pattern:
        rest = sum(masks[name].numel() for name in groups.whole)
        assert masks.kept == round(density * (masks.size - rest)) + rest
    elif granularity == "fan-in":
        assert abs(masks.kept - asked) <= max(len(m.of(masks[n])) for n, m in groups.matrices.items()) / 2
    elif scope == "global":
        arrays = {name: score.numpy() for name, score in scores.items()}
        assert same(masks, reference(entries_of(groups, masks), arrays, asked, "sum"))
    else:
        assert abs(masks.kept - asked) <= max(map(len, entries_of(groups, masks)))


def entries_of(groups: Any, masks: Masks) -> list[set[Entry]]:
    """The weights of every group."""
    found: list[set[Entry]] = [set() for _ in groups.classes]
    for name, labels in groups.labels.items():
        for label in labels:
            numbers = label.expand(masks[name].shape).numpy()
            for place in zip(*np.nonzero(numbers >= 0), strict=True):
                found[numbers[place]].add((name, place))
    return found


def test_scopes_differ_and_local_keeps_equal_shares_of_channels(pose: Pose) -> None:
    model = seeded(plain)
    scores = drawn(model)
    scores["conv1.weight"] *= 100
    shares = {}
    for scope in ("global", "local"):
        masks = selected(pose, model, scores, 0.25, granularity="channel", scope=scope)
        shares[scope] = [
            float(masks[n].flatten(1).any(1).float().mean()) for n in ("conv1.weight", "conv2.weight")
        ]
    assert shares["global"][0] == 1
    assert shares["global"][1] < 0.5
    assert shares["local"][0] == pytest.approx(shares["local"][1], abs=1 / 8)


def test_inverted_groups_are_those_with_the_least_scores(pose: Pose) -> None:
    model = seeded(plain)
    scores = drawn(model)
    for granularity in ("kernel", "channel", "fan-in", "2:4"):
        options: dict[str, Any] = {"granularity": granularity, "skip": "conv1"}
        own = {name: score for name, score in scores.items() if name != "conv1.weight"}
        negated = {name: -score for name, score in own.items()}
        inverted = selected(pose, model, own, 0.5, invert=True, **options)
        assert inverted == selected(pose, model, negated, 0.5, **options), granularity
        assert inverted != selected(pose, model, own, 0.5, **options)


@pytest.mark.parametrize("granularity", ["kernel", "channel", "fan-in", "2:4"])
def test_later_levels_prune_what_earlier_ones_kept(granularity: str, pose: Pose) -> None:
    model = seeded(plain)
    options = PruningOptions(granularity=granularity)
    problem, masks = pose(model, INPUT_SHAPE, options=options), None
    for level, density in enumerate((0.9, 0.7, 0.5), start=1):
        masks = masks or problem.masks
        scores = drawn(model, level)
        problem, now = problem.at(masks, density=density, round=1).keep(lambda _, s=scores: s)
        assert all(bool((masks[name] | ~now[name]).all()) for name in now)
        assert problem.groups.fault(now, problem.masks, density) is None
        masks = now


def test_patterns_above_their_density_keep_at_least_n_of_every_m(pose: Pose) -> None:
    model = nn.Linear(64, 16)
    scores = drawn(model)
    for scope in ("global", "local"):
        masks = selected(pose, model, scores, 0.7, granularity="2:4", scope=scope, shape=(64,))
        assert masks.kept == round(0.7 * 1024)
        assert int(masks["weight"].view(-1, 4).sum(1).min()) == 2


@pytest.mark.parametrize("granularity", ["kernel", "channel", "fan-in", "2:4"])
def test_shuffled_masks_are_of_the_same_granularity(granularity: str, pose: Pose) -> None:
    model = seeded(plain)
    masks = selected(pose, model, drawn(model), 0.5, granularity=granularity)
    problem = pose(model, INPUT_SHAPE, options=PruningOptions(granularity=granularity))
    groups = problem.groups
    shuffled = shuffle_masks(masks, torch.Generator().manual_seed(1), groups)
    assert shuffled != masks
    assert shuffled.kept == masks.kept
    assert groups.fault(shuffled, problem.masks, 0.5) is None
