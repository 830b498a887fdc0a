"""`snip`, `grasp` and `grasp-abs` against finite differences and the explicit Hessian, in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import hessian
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from synflow_bench.pruning import Examples, Masks, Problem
from synflow_bench.suites import PruningOptions
from synflow_bench_pruners.grasp import Grasp, GraspAbs
from synflow_bench_pruners.helpers import equal_batches
from synflow_bench_pruners.iter_snip import Force, IterSnip
from synflow_bench_pruners.prospr import ProsPr
from synflow_bench_pruners.snip import Snip

Pose = Callable[..., Problem]
EVERYTHING = PruningOptions(prune_bias=True, prune_batchnorm=True)


class Batched(Problem):
    """A problem whose data come seven at a time."""

    batch_size = 7


@pytest.fixture
def net() -> nn.Sequential:
    """Smooth, with batch norm away from its first statistics and with dropout, so that eval mode shows."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv1d(2, 3, 2), nn.BatchNorm1d(3), nn.Tanh(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(9, 3)
        )
        net(3 * torch.randn(50, 2, 4) + 1)
        nn.init.uniform_(net[1].weight, 0.5, 2)
    return net.double()


@pytest.fixture
def data() -> Examples:
    """600 examples, more than two batches."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(600, 2, 4, generator=generator, dtype=torch.float64), torch.arange(600) % 3


def total_loss(net: nn.Module, weights: Mapping[str, Tensor], data: Examples, temperature: float) -> Tensor:
    """The loss of every example on its own, summed."""
    logits = functional_call(net.eval(), dict(weights), (data[0],))
    return cross_entropy(logits / temperature, data[1], reduction="sum")


def flat(tensors: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors.values()])


def flat_loss(net: nn.Module, shapes: Mapping[str, Tensor], data: Examples, temperature: float = 1.0):  # type: ignore[no-untyped-def]
    """The summed loss as a function of all prunable weights in one row."""

    def loss(row: Tensor) -> Tensor:
        parts = torch.split(row, [p.numel() for p in shapes.values()])
        weights = {n: part.view(p.shape) for (n, p), part in zip(shapes.items(), parts, strict=True)}
        return total_loss(net, weights, data, temperature)

    return loss


def test_snip_is_the_change_of_the_loss_when_each_weight_shrinks(
    net: nn.Module, data: Examples, pose: Pose
) -> None:
    problem = pose(net, (2, 4), examples=data, options=EVERYTHING)
    weights = flat(problem.parameters)
    loss = flat_loss(net, problem.parameters, data)
    step = 1e-5 * torch.eye(len(weights), dtype=torch.float64) * weights
    change = torch.stack([(loss(weights - row) - loss(weights + row)) / 2e-5 for row in step]).detach()
    assert torch.allclose(flat(Snip().score(problem)), change.abs(), rtol=1e-6, atol=1e-7)


def test_snip_sees_the_masked_network(net: nn.Module, data: Examples, pose: Pose) -> None:
    problem = pose(net, (2, 4), examples=data)
    masks = Masks({n: torch.arange(p.numel()).view(p.shape) % 2 == 0 for n, p in problem.parameters.items()})
    scores = flat(Snip().score(problem.at(masks, density=0.5, round=2)))
    weights = (flat(problem.dense) * flat(masks)).requires_grad_()
    (gradient,) = torch.autograd.grad(flat_loss(net, problem.dense, data)(weights), weights)
    assert torch.allclose(scores, (weights * gradient).abs().detach(), rtol=1e-10)
    assert not scores[~flat(masks)].any()


@pytest.mark.parametrize("temperature", [200.0, 1.0])
def test_grasp_is_the_weight_times_the_hessian_times_the_gradient(
    net: nn.Module, data: Examples, pose: Pose, temperature: float
) -> None:
    problem = pose(net, (2, 4), examples=data, options=EVERYTHING)
    weights = flat(problem.parameters).requires_grad_()
    loss = flat_loss(net, problem.parameters, data, temperature)
    (gradient,) = torch.autograd.grad(loss(weights), weights)
    expected = weights.detach() * (hessian(loss, weights.detach()) @ gradient)
    scores = flat(Grasp(temperature=temperature, mode="eval").score(problem))
    assert torch.allclose(scores, expected, rtol=1e-9, atol=1e-12 * float(expected.abs().max()))


def losses_of_batches(net: nn.Module, weights: Mapping[str, Tensor], data: Examples, size: int) -> Tensor:
    """The summed loss in training mode, each batch normalized on its own."""
    batches = zip(data[0].split(size), data[1].split(size), strict=True)
    buffers = dict(net.named_buffers())
    total = torch.zeros((), dtype=torch.float64)
    for inputs, labels in batches:
        copies = {name: buffer.clone() for name, buffer in buffers.items()}
        logits = functional_call(net.train(), {**weights, **copies}, (inputs,))
        total = total + cross_entropy(logits, labels, reduction="sum")
    return total


def test_in_training_mode_each_of_equal_batches_has_its_own_statistics(
    net: nn.Module, data: Examples, pose: Pose
) -> None:
    """600 examples are three batches of 200; dropout would draw."""
    net[3].p = 0.0
    problem = pose(net, (2, 4), examples=data, options=EVERYTHING)
    shapes = problem.parameters
    weights = flat(shapes).requires_grad_()

    def loss(row: Tensor) -> Tensor:
        parts = torch.split(row, [p.numel() for p in shapes.values()])
        named = {n: part.view(p.shape) for (n, p), part in zip(shapes.items(), parts, strict=True)}
        return losses_of_batches(net, named, data, 200)

    (gradient,) = torch.autograd.grad(loss(weights), weights)
    of_snip = flat(Snip(mode="train").score(problem))
    assert torch.allclose(of_snip, (weights * gradient).abs().detach(), rtol=1e-9, atol=1e-12)
    expected = weights.detach() * (hessian(loss, weights.detach()) @ gradient)
    scores = flat(Grasp(temperature=1).score(problem))
    assert torch.allclose(scores, expected, rtol=1e-8, atol=1e-11 * float(expected.abs().max()))


@pytest.mark.parametrize("pruner", [Snip(mode="train"), Grasp(), GraspAbs()], ids=str)
def test_training_mode_leaves_nothing_behind_and_draws_from_the_problems_generator(
    net: nn.Module, data: Examples, pose: Pose, pruner: Snip
) -> None:
    scores = []
    for seed in (1, 1, 2):
        problem = pose(net, (2, 4), examples=data, seed=seed)
        before = {name: buffer.clone() for name, buffer in problem.model.named_buffers()}
        torch.manual_seed(len(scores))
        state = torch.get_rng_state()
        scores.append(flat(pruner.score(problem)))
        assert torch.equal(torch.get_rng_state(), state)
        assert not any(module.training for module in problem.model.modules())
        assert all(torch.equal(before[name], buffer) for name, buffer in problem.model.named_buffers())
    assert torch.equal(scores[0], scores[1])
    assert not torch.equal(scores[0], scores[2])


@pytest.mark.parametrize(("number", "size"), [(257, 256), (300, 256), (513, 256), (381, 20), (7, 2), (5, 9)])
def test_no_batch_of_training_mode_is_smaller_than_another_by_more_than_one(
    net: nn.Module, data: Examples, pose: Pose, number: int, size: int
) -> None:
    inputs, labels = data[0][:number], data[1][:number]
    batches = [*equal_batches(pose(net, (2, 4), examples=(inputs, labels)), size)]
    sizes = [len(own) for _, own in batches]
    assert torch.equal(torch.cat([own for own, _ in batches]), inputs)
    assert torch.equal(torch.cat([own for _, own in batches]), labels)
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == -(-number // size)


def test_published_modes_are_the_defaults() -> None:
    modes = (Snip().mode, Grasp().mode, GraspAbs().mode, ProsPr().mode, IterSnip().mode, Force().mode)
    assert modes == ("eval", "train", "train", "train", "eval", "eval")


def test_grasps_temperature_is_the_papers() -> None:
    assert {field.name: field.default for field in fields(Grasp)}["temperature"] == 200.0


@pytest.mark.parametrize("pruner", [Snip(), Grasp(mode="eval")], ids=str)
def test_scores_do_not_depend_on_how_the_data_are_batched(
    net: nn.Module, data: Examples, pose: Pose, pruner: Snip | Grasp
) -> None:
    whole = pose(net, (2, 4), examples=data)
    parts = Batched.of(net, input_shape=(2, 4), num_classes=3, generator=torch.Generator(), examples=data)
    assert torch.allclose(flat(pruner.score(whole)), flat(pruner.score(parts)), rtol=1e-9)


def test_signed_sensitivities_sum_over_the_scoring_set(net: nn.Module, data: Examples, pose: Pose) -> None:
    """A set twice over doubles SNIP's gradient, and GraSP's gradient and Hessian both."""
    twice = (data[0].repeat(2, 1, 1), data[1].repeat(2))
    once, double = pose(net, (2, 4), examples=data), pose(net, (2, 4), examples=twice)
    assert torch.allclose(2 * flat(Snip().score(once)), flat(Snip().score(double)), rtol=1e-9)
    pruner = Grasp(mode="eval")
    assert torch.allclose(4 * flat(pruner.score(once)), flat(pruner.score(double)), rtol=1e-9)


@pytest.mark.parametrize("pruner", [Snip(), Grasp(mode="eval")], ids=str)
def test_float32_gives_the_same_scores_to_its_precision(
    net: nn.Module, data: Examples, pose: Pose, pruner: Snip | Grasp
) -> None:
    wide = flat(pruner.score(pose(net, (2, 4), examples=data)))
    narrow = flat(pruner.score(pose(net.float(), (2, 4), examples=(data[0].float(), data[1]))))
    assert torch.allclose(narrow.double(), wide, atol=1e-4 * float(wide.abs().max()))


@pytest.mark.parametrize("temperature", [200.0, 1.0])
def test_scores_are_the_size_of_the_weight_times_the_hessian_times_the_gradient(
    temperature: float, pose: Callable[..., Problem]
) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(40, 4, generator=generator, dtype=torch.float64)
    labels = torch.arange(40) % 3
    weights = torch.randn(3, 4, generator=generator, dtype=torch.float64)

    def loss(weights: Tensor) -> Tensor:
        return cross_entropy(inputs @ weights.T / temperature, labels, reduction="sum")

    probabilities = (inputs @ weights.T / temperature).softmax(1)
    gradient = (probabilities - torch.eye(3, dtype=torch.float64)[labels]).T @ inputs / temperature
    product = torch.einsum("abcd,cd->ab", hessian(loss, weights), gradient)
    net = nn.Linear(4, 3, bias=False).double()
    with torch.no_grad():
        net.weight.copy_(weights)
    scores = GraspAbs(temperature=temperature).score(pose(net, (4,), examples=(inputs, labels)))["weight"]
    torch.testing.assert_close(scores, (weights * product).abs(), rtol=1e-9, atol=0)
    assert bool((weights * product < 0).any())


def test_grasps_temperature_and_its_one_round_are_the_defaults() -> None:
    assert (GraspAbs().temperature, GraspAbs().rounds, GraspAbs.needs_data) == (200.0, 1, True)
