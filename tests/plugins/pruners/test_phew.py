"""`phew`: exact counts, whole paths, and entries as likely as by one walk after the other."""

from __future__ import annotations

from bisect import bisect
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import count, pairwise
from random import Random

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from synflow_bench.errors import ModelError, UsageError
from synflow_bench.pruning import Masks, Problem, run_pruner
from synflow_bench.suites import PruningOptions
from synflow_bench_models.resnet import lottery_resnet20 as resnet20
from synflow_bench_models.small import conv, fc
from synflow_bench_pruners.phew import Phew
from synflow_bench_pruners.walks import Walks

Pose = Callable[..., Problem]
SHAPES = {fc: (1, 8, 8), conv: (3, 6, 6), resnet20: (3, 8, 8)}
Entry = tuple[int, int, int, int]
"""Layer, output, input and place in the kernel."""
SEEDS = 200
DENSITY = 0.8
SIGMAS = 5


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


def test_walks_take_no_kernel_position_that_meets_only_padding(pose: Pose) -> None:
    def at_one_pixel() -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.Flatten())

    problem = pose(seeded(at_one_pixel), (1, 1, 1))
    masks = run_pruner(Phew(), problem, 10 / problem.masks.size).masks
    assert masks.kept == 10
    assert sum(int(mask[..., 1, 1].count_nonzero()) for mask in masks.values()) == 10


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
        assert step.crossing is not None
        taken[step.crossing.name] += len(step.walkers)
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


class ClassAttention(nn.Module):
    """A learned token, joined to the others, is the query of attention."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.ones(1, 1, 6))
        self.embed, self.query, self.key = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(len(x), -1, -1), self.embed(x)], 1)
        shares = (self.query(x[:, :1]) @ self.key(x).transpose(1, 2)).softmax(-1)
        out: Tensor = self.head((shares @ x)[:, 0])
        return out


def test_walks_back_end_at_a_learned_token(pose: Pose) -> None:
    problem = pose(seeded(ClassAttention), (3, 4))
    masks = run_pruner(Phew(), problem, 0.4).masks
    assert masks.kept == round(masks.size * 0.4)
    assert all(masks.layer_kept.values())


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


class Fourier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.fft(self.a(x)).abs()


class Normalized(nn.Module):
    """A linear layer whose weight is computed from its parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, nn.functional.normalize(self.a.weight))


@pytest.mark.parametrize(("model", "reason"), [(Fourier(), "_fft"), (Normalized(), "'a.weight'")])
def test_a_network_that_cannot_be_traced_is_one_clear_line(model: nn.Module, reason: str, pose: Pose) -> None:
    with pytest.raises(ModelError, match=reason) as caught:
        run_pruner(Phew(), pose(model, (4,)), 0.5)
    assert "\n" not in str(caught.value)


def test_a_second_round_is_refused() -> None:
    with pytest.raises(UsageError, match="rounds=2 has no effect"):
        Phew(rounds=2)


class SingleWalks:
    """The paper's: the next unit with P ~ L1 norm of the kernel, then the entry of the kernel with P ~ |w|.

    `sizes` are |w| (outputs, inputs, kernel) of each layer.
    """

    def __init__(self, sizes: Sequence[Tensor], seed: int) -> None:
        self._random = Random(seed)  # noqa: S311  no secret
        self._ahead = [size.sum(2).cumsum(0).T.tolist() for size in sizes]
        self._back = [size.sum(2).cumsum(1).tolist() for size in sizes]
        self._kernels = [size.cumsum(2).tolist() for size in sizes]

    def steps(self) -> Iterator[Entry]:
        """Forth and back in turn; units of the input and of the output take turns to be the first."""
        for turn in count():
            yield from self._forth(turn % len(self._ahead[0]))
            yield from self._back_from(turn % len(self._back[-1]))

    def _forth(self, unit: int) -> Iterator[Entry]:
        for layer, norms in enumerate(self._ahead):
            output = self._drawn(norms[unit])
            yield layer, output, unit, self._drawn(self._kernels[layer][output][unit])
            unit = output

    def _back_from(self, unit: int) -> Iterator[Entry]:
        for layer in reversed(range(len(self._back))):
            source = self._drawn(self._back[layer][unit])
            yield layer, unit, source, self._drawn(self._kernels[layer][unit][source])
            unit = source

    def _drawn(self, sums: Sequence[float]) -> int:
        return bisect(sums, self._random.random() * sums[-1], hi=len(sums) - 1)


def one_by_one(sizes: Sequence[Tensor], k: int, seed: int) -> Tensor:
    """Walk until `k` entries are kept."""
    masks = [torch.zeros(size.shape, dtype=torch.bool) for size in sizes]
    kept: set[Entry] = set()
    for entry in SingleWalks(sizes, seed).steps():
        kept.add(entry)
        if len(kept) == k:
            break
    for layer, *place in kept:
        masks[layer][tuple(place)] = True
    return in_a_row(masks)


def in_a_row(masks: Sequence[Tensor]) -> Tensor:
    return torch.cat([mask.flatten() for mask in masks]).double()


def network() -> nn.Module:
    """720 weights, with units from small to large, so that some are found late."""
    generator = torch.Generator().manual_seed(0)
    scales = torch.linspace(-1, 1, 30).exp()
    kernels = torch.randn(30, 6, 1, 2, generator=generator) * scales.view(-1, 1, 1, 1)
    head = torch.randn(12, 30, generator=generator) * scales
    layers = {"conv": nn.Conv2d(6, 30, (1, 2)), "flat": nn.Flatten(), "head": nn.Linear(30, 12)}
    model = nn.Sequential(OrderedDict(layers))
    model.load_state_dict({"conv.weight": kernels, "head.weight": head}, strict=False)
    return model


def assert_alike(ours: Tensor, theirs: Tensor) -> None:
    """The means of both samples (seeds, numbers) differ by less than `SIGMAS` standard errors."""
    variance = (ours.var(0) + theirs.var(0)) / SEEDS + 1 / SEEDS**2
    assert ((ours.mean(0) - theirs.mean(0)).abs() < SIGMAS * variance.sqrt()).all()


def test_each_entry_is_kept_as_often_as_by_walks_one_by_one(pose: Pose) -> None:
    """Entry by entry, and all entries of about one size together; both ways keep 576 of 720."""
    model = network()
    posed = [pose(model, (6, 1, 2), seed=seed) for seed in range(SEEDS)]
    ours = torch.stack([in_a_row(list(Phew().prune(each, DENSITY).values())) for each in posed])
    sizes = [weight.detach().double().abs() for weight in posed[0].parameters.values()]
    sizes = [size.reshape(*size.shape[:2], -1) for size in sizes]
    theirs = torch.stack([one_by_one(sizes, 576, seed) for seed in range(SEEDS)])
    assert ours.sum(1).unique().tolist() == theirs.sum(1).unique().tolist() == [576]
    assert_alike(ours, theirs)
    for alike in in_a_row(sizes).argsort().chunk(5):
        assert_alike(ours[:, alike].sum(1, keepdim=True), theirs[:, alike].sum(1, keepdim=True))
