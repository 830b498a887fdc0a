"""`phew`: exact counts, whole paths, and steps as likely as the weights are large."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from synflow_bench.errors import ModelError, UsageError
from synflow_bench.pruning import Masks, Problem, run_pruner
from synflow_bench.suites import PruningOptions
from synflow_bench_models.conv import conv
from synflow_bench_models.fc import fc
from synflow_bench_models.lottery_resnet import resnet20
from synflow_bench_pruners.phew import Phew
from synflow_bench_pruners.walks import Walks

Pose = Callable[..., Problem]
SHAPES = {fc: (1, 8, 8), conv: (3, 6, 6), resnet20: (3, 8, 8)}


class Grouped(nn.Module):
    """A grouped and a transposed convolution, a concatenation, a weighted and an identity shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3, padding=1)
        self.grouped = nn.Conv2d(6, 6, 3, padding=1, groups=3)
        self.norm = nn.BatchNorm2d(6)
        self.side = nn.Conv2d(6, 6, 1)
        self.up = nn.ConvTranspose2d(12, 4, 2, stride=2, groups=2)
        self.last = nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(4 * 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        summed = self.norm(self.grouped(x)) + self.side(x)
        x = nn.functional.relu_(self.up(torch.cat([summed, x], 1)))
        x = x + self.last(x)
        x = nn.functional.max_pool2d(x, 2)
        out: Tensor = self.head(x.view(x.size(0), -1))
        return out


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build()


def posed(pose: Pose, kind: object, **rest: object) -> Problem:
    if kind is Grouped:
        return pose(seeded(Grouped), (2, 4, 4), **rest)
    return pose(seeded(lambda: kind(SHAPES[kind], 3)), SHAPES[kind], **rest)  # type: ignore[index, operator]


def whole(mask: Tensor) -> Tensor:
    return (
        mask.flatten(2).any(2).view(*mask.shape[:2], *(1 for _ in mask.shape[2:])) if mask.dim() > 2 else mask
    )


def on_no_path(problem: Problem, masks: Masks) -> int:
    """How many kept weights lie on no path of channels: a positive network has a derivative where a path is.

    A kernel of which anything is kept is kept whole, so that no path leaves the image.
    """
    state = {n: torch.ones(p.shape, dtype=torch.float64) for n, p in problem.model.named_parameters()}
    state = {n: (w * whole(masks[n]) if n in masks else w).requires_grad_() for n, w in state.items()}
    buffers = {n: b.double().abs() for n, b in problem.model.named_buffers() if b.is_floating_point()}
    ones = torch.ones(1, *problem.input_shape, dtype=torch.float64)
    names = list(masks)
    total = functional_call(problem.model, {**state, **buffers}, (ones,)).sum()
    gradients = torch.autograd.grad(total, [state[name] for name in names])
    return sum(int((masks[n] & ~whole(g > 0)).sum()) for n, g in zip(names, gradients, strict=True))


@pytest.mark.parametrize("kind", [fc, conv, resnet20], ids=["fc", "conv", "lottery/resnet20"])
@pytest.mark.parametrize("compression", [2, 10, 300])
def test_every_kept_weight_lies_on_a_path_from_input_to_output(
    kind: object, compression: float, pose: Pose
) -> None:
    problem = posed(pose, kind)
    masks = run_pruner(Phew(), problem, 1 / compression).masks
    assert masks.kept == round(masks.size / compression)
    assert on_no_path(problem, masks) == 0


@pytest.mark.parametrize(
    ("kind", "compression"),
    [*((kind, c) for kind in (conv, Grouped) for c in (1, 1.01, 2, 7, 20, 200)), (fc, 3), (resnet20, 20)],
)
@pytest.mark.parametrize("scope", ["global", "local"])
def test_keeps_exactly_as_many_as_asked(kind: object, compression: float, scope: str, pose: Pose) -> None:
    options = PruningOptions.model_validate({"scope": scope, "prune_bias": True, "prune_batchnorm": True})
    masks = run_pruner(Phew(), posed(pose, kind, options=options), 1 / compression).masks
    assert masks.kept == round(masks.size / compression)
    if scope == "local":
        assert all(abs(m.sum() - m.numel() / compression) <= 1 for m in masks.values())


def ends(masks: Masks) -> list[tuple[list[int], list[int]]]:
    """Of each linear layer the units that its kept entries come from, and those that they lead to."""
    entries = (mask.nonzero().T.tolist() for mask in masks.values())
    return [(inputs, outputs) for outputs, inputs in entries]


@pytest.mark.parametrize("k", [1, 4, 5])
def test_less_than_a_path_is_the_beginning_of_one(k: int, pose: Pose) -> None:
    problem = posed(pose, fc)
    layers = ends(run_pruner(Phew(), problem, k / problem.masks.size).masks)
    assert [len(inputs) for inputs, _ in layers] == [1] * k + [0] * (6 - k)
    assert all(here[1] == after[0] for here, after in pairwise(layers[:k]))


def test_a_path_and_a_half_are_one_and_the_beginning_of_one_back(pose: Pose) -> None:
    problem = posed(pose, fc)
    layers = ends(run_pruner(Phew(), problem, 9 / problem.masks.size).masks)
    assert [len(inputs) for inputs, _ in layers] == [1, 1, 1, 2, 2, 2]
    assert all(set(here[1]) <= set(after[0]) for here, after in pairwise(layers[:4]))
    assert all(set(here[1]) == set(after[0]) for here, after in pairwise(layers[3:]))


def test_steps_are_as_likely_as_the_weights_are_large(pose: Pose) -> None:
    """The shares of 40,000 walks, entry by entry, within five standard deviations."""
    model = seeded(lambda: nn.Sequential(nn.Conv2d(2, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(3, 4)))
    problem = pose(model, (2, 2, 2))
    forward, backward = Walks(problem).tour(40_000)
    kernel = model[0].weight.detach().double().abs()  # type: ignore[index]
    head = model[3].weight.detach().double().abs()  # type: ignore[index]
    enter = kernel / kernel.sum((0, 2, 3), keepdim=True) / 2
    leave = enter.sum((1, 2, 3)) * head / head.sum(0)
    last = head / head.sum(1, keepdim=True) / 4
    first = last.sum(0).view(3, 1, 1, 1) * kernel / kernel.sum((1, 2, 3), keepdim=True)
    for steps, expected in ((forward, [enter, leave]), (backward[::-1], [first, last])):
        for step, shares, start in zip(steps, expected, (0, kernel.numel()), strict=True):
            number = 40_000
            counts = torch.bincount(torch.from_numpy(step.entries) - start, minlength=shares.numel())
            sigma = (number * shares.reshape(-1)).sqrt()
            assert ((counts - number * shares.reshape(-1)).abs() <= 5 * sigma + 1).all()


def test_many_walks_keep_large_weights(pose: Pose) -> None:
    problem = posed(pose, fc)
    masks = run_pruner(Phew(), problem, 0.1).masks
    for name, mask in masks.items():
        size = problem.dense[name].abs()
        assert size[mask].mean() > size.mean()


def test_walks_past_identity_shortcuts_and_through_weighted_ones(pose: Pose) -> None:
    """Every walk takes both convolutions of a block, or the 1x1 convolution beside them."""
    problem = posed(pose, resnet20)
    walks = Walks(problem)
    forward, _ = walks.tour(1000)
    taken = dict.fromkeys(problem.masks, 0)
    for step in forward:
        name = next(n for n, crossing in walks.crossings.items() if crossing is step.crossing)
        taken[name] += len(step.walkers)
    assert taken["stem.conv.weight"] == taken["stage1.2.conv2.weight"] == taken["classifier.weight"] == 1000
    beside = taken["stage2.0.shortcut.conv.weight"]
    assert taken["stage2.0.conv1.weight"] == taken["stage2.0.conv2.weight"] == 1000 - beside
    assert 400 < beside < 600


def test_units_come_with_their_bias_and_batch_norm(pose: Pose) -> None:
    options = PruningOptions(prune_bias=True, prune_batchnorm=True)
    problem = posed(pose, Grouped, options=options)
    masks = run_pruner(Phew(), problem, 0.2).masks
    for name in ("stem", "grouped", "side", "head"):
        visited = masks[f"{name}.weight"].flatten(1).any(1)
        assert torch.equal(masks[f"{name}.bias"] | visited, masks[f"{name}.bias"])


def test_what_is_masked_already_stays_masked(pose: Pose) -> None:
    problem = posed(pose, fc)
    before = {n: torch.arange(p.numel()).view(p.shape) % 3 > 0 for n, p in problem.parameters.items()}
    masks = run_pruner(Phew(), problem.at(Masks(before), density=1.0, round=2), 0.1).masks
    assert masks.kept == round(masks.size * 0.1)
    assert all((before[name] | ~mask).all() for name, mask in masks.items())


@pytest.mark.parametrize("scope", ["global", "local"])
def test_inverted_it_removes_what_it_would_have_kept(scope: str, pose: Pose) -> None:
    options = PruningOptions.model_validate({"scope": scope})
    kept = run_pruner(Phew(), posed(pose, fc, options=options), 0.5).masks
    rest = run_pruner(Phew(), posed(pose, fc, options=options, invert=True), 0.5).masks
    assert all(torch.equal(kept[name], ~rest[name]) for name in kept)


def test_a_dense_classifier_is_walked_but_not_pruned(pose: Pose) -> None:
    options = PruningOptions(dense_classifier=True)
    masks = run_pruner(Phew(), posed(pose, conv, options=options), 0.1).masks
    assert "classifier.weight" not in masks
    assert masks.kept == round(masks.size * 0.1)


def test_depends_on_the_problems_generator_alone(pose: Pose) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = Phew().prune(posed(pose, conv, seed=1), 0.1)
    assert torch.equal(torch.get_rng_state(), before)
    assert Phew().prune(posed(pose, conv, seed=1), 0.1) == first
    assert Phew().prune(posed(pose, conv, seed=2), 0.1) != first


class Transposing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x) @ self.a.weight


def test_a_network_that_cannot_be_followed_is_one_clear_line(pose: Pose) -> None:
    with pytest.raises(ModelError, match=r"Transposing has a call of .*matmul.*; phew follows") as caught:
        run_pruner(Phew(), pose(Transposing(), (4,)), 0.5)
    assert "\n" not in str(caught.value)


def test_a_second_round_is_refused() -> None:
    with pytest.raises(UsageError, match="rounds=2 has no effect"):
        Phew(rounds=2)
