"""`prospr` against the inner loop written out, and finite differences of it, in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from synflow_bench.errors import UsageError
from synflow_bench.pruning import Examples, Masks, Problem, run_pruner
from synflow_bench.suites import PruningOptions
from synflow_bench_pruners.prospr import ProsPr

Pose = Callable[..., Problem]
LR = 0.1


@pytest.fixture
def net() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = (nn.Conv1d(2, 3, 2), nn.BatchNorm1d(3), nn.Tanh(), nn.Flatten(), nn.Linear(9, 3))
        return nn.Sequential(*layers).double()


@pytest.fixture
def data() -> Examples:
    inputs = torch.randn(30, 2, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return inputs, torch.arange(30) % 3


def after_training(
    net: nn.Module, start: Mapping[str, Tensor], batches: list[Examples]
) -> tuple[Tensor, dict[str, Tensor]]:
    """The last batch's loss after a step of gradient descent on each batch before it, and the weights."""
    net.train()
    weights = {name: w.detach().clone().requires_grad_() for name, w in start.items()}
    for inputs, labels in batches[:-1]:
        loss = cross_entropy(functional_call(net, weights, (inputs,)), labels)
        gradients = torch.autograd.grad(loss, list(weights.values()))
        moved = zip(weights.items(), gradients, strict=True)
        weights = {name: (w - LR * g).detach().requires_grad_() for (name, w), g in moved}
    return cross_entropy(functional_call(net, weights, (batches[-1][0],)), batches[-1][1]), weights


def start_of(net: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in net.named_parameters()}


def test_second_order_is_the_change_of_the_loss_after_training_when_a_mask_entry_changes(
    net: nn.Module, data: Examples, pose: Pose
) -> None:
    scores = ProsPr().score(pose(net, (2, 4), examples=data))
    start, batches, step = start_of(net), [data] * 4, 1e-5
    for name, score in scores.items():
        for place in range(score.numel()):
            losses = []
            for sign in (1, -1):
                mask = torch.ones(score.numel(), dtype=torch.float64)
                mask[place] += sign * step
                changed = {**start, name: start[name] * mask.view(score.shape)}
                losses.append(float(after_training(net, changed, batches)[0].detach()))
            assert float(score.view(-1)[place]) == pytest.approx(
                abs(losses[0] - losses[1]) / (2 * step), rel=1e-5, abs=1e-8
            )


@pytest.mark.parametrize("steps", [0, 3])
def test_first_order_is_the_first_weight_times_the_last_gradient(
    net: nn.Module, data: Examples, pose: Pose, steps: int
) -> None:
    scores = ProsPr(inner_steps=steps, second_order=False).score(pose(net, (2, 4), examples=data))
    loss, weights = after_training(net, start_of(net), [data] * (steps + 1))
    loss.backward()
    for name, score in scores.items():
        assert torch.allclose(score, (start_of(net)[name] * weights[name].grad).abs(), rtol=1e-9)


def test_batches_follow_one_another_and_start_again(net: nn.Module, data: Examples, pose: Pose) -> None:
    scores = ProsPr(batch=15, second_order=False).score(pose(net, (2, 4), examples=data))
    halves = [(data[0][:15], data[1][:15]), (data[0][15:], data[1][15:])]
    loss, weights = after_training(net, start_of(net), halves * 2)
    loss.backward()
    for name, score in scores.items():
        assert torch.allclose(score, (start_of(net)[name] * weights[name].grad).abs(), rtol=1e-9)


@pytest.mark.parametrize("second_order", [False, True])
def test_masked_weights_take_no_part(net: nn.Module, data: Examples, pose: Pose, second_order: bool) -> None:
    """A masked weight may have any value: neither the inner steps nor the scores change."""
    other = {name: p.detach().clone() for name, p in net.named_parameters()}
    results = []
    for scale in (1.0, 5.0):
        net[4].weight.data[0] = other["4.weight"][0] * scale
        problem = pose(net, (2, 4), examples=data)
        masks = Masks.ones(problem.parameters)
        mask = masks["4.weight"].clone()
        mask[0] = False
        masked = problem.at(Masks({**masks, "4.weight": mask}), density=0.8, round=2)
        results.append(ProsPr(second_order=second_order).score(masked))
    for name in results[0]:
        assert torch.equal(results[0][name], results[1][name])
    assert not results[0]["4.weight"][0].any()


def test_leaves_buffers_modes_and_global_draws_alone(data: Examples, pose: Pose) -> None:
    model = nn.Sequential(
        nn.Conv1d(2, 3, 2), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Flatten(), nn.Linear(9, 3)
    ).double()
    problem = pose(model, (2, 4), examples=data, options=PruningOptions(prune_batchnorm=True))
    before = {name: buffer.clone() for name, buffer in problem.model.named_buffers()}
    torch.manual_seed(3)
    expected = torch.get_rng_state()
    ProsPr().score(problem)
    assert torch.equal(torch.get_rng_state(), expected)
    assert not any(module.training for module in problem.model.modules())
    assert all(torch.equal(before[name], buffer) for name, buffer in problem.model.named_buffers())


def test_dropout_is_drawn_from_the_problems_generator(data: Examples, pose: Pose) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, 3)).double()
    masks = []
    for seed, disturbed in ((1, 0), (1, 7), (2, 0)):
        torch.manual_seed(disturbed)
        problem = pose(model, (2, 4), examples=data, seed=seed)
        masks.append(run_pruner(ProsPr(), problem, 0.5).masks)
    assert masks[0] == masks[1] != masks[2]


@pytest.fixture
def steep(data: Examples) -> tuple[nn.Module, Examples]:
    """Inputs so large that steps of the published rate overshoot."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(8, 100), nn.ReLU(), nn.Linear(100, 3)).double()
    return net, (10 * data[0], data[1])


def test_a_published_rate_that_diverges_is_divided_and_the_user_told(
    steep: tuple[nn.Module, Examples], pose: Pose
) -> None:
    net, data = steep
    problem = pose(net, (2, 4), examples=data)
    found = ProsPr().score(problem)
    (warning,) = problem.warnings
    rate = float(warning.rpartition(" ")[2])
    assert rate in (0.01, 0.001)
    given = pose(net, (2, 4), examples=data)
    expected = ProsPr(inner_lr=rate).score(given)
    assert not given.warnings
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_rates_are_tried_in_the_memory_of_one(steep: tuple[nn.Module, Examples], pose: Pose) -> None:
    """The graph of a rate that is given up is freed before the next one is built."""

    class Saved:
        alive = peak = 0

        def __init__(self, tensor: Tensor) -> None:
            self.tensor = tensor.detach()  # with its history, it would keep the graph alive
            Saved.alive += 1
            Saved.peak = max(Saved.peak, Saved.alive)

        def __del__(self) -> None:
            Saved.alive -= 1

    def most_saved(rate: float) -> int:
        net, data = steep
        problem = pose(net, (2, 4), examples=data)
        Saved.peak = Saved.alive = 0
        with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor):
            ProsPr(inner_lr=rate).score(problem)
        return Saved.peak

    assert most_saved(0.0) == most_saved(0.001) > 0


def test_a_given_rate_that_diverges_is_kept_and_the_user_told(
    steep: tuple[nn.Module, Examples], pose: Pose
) -> None:
    net, data = steep
    problem = pose(net, (2, 4), examples=data)
    ProsPr(inner_lr=0.1).score(problem)
    assert problem.warnings == ("the loss rises in the inner steps of prospr at learning rate 0.1",)


def test_a_last_batch_that_is_harder_than_the_first_is_no_rise_of_the_loss(pose: Pose) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(8, 3, bias=False)).double()
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([1.0, -1.0, -1.0]).view(3, 1).expand(3, 8))
    easy, hard = 0.1, 0.01  # of one class, recognized with loss 0.34 and 1.05
    inputs = torch.tensor([easy, easy, hard, hard], dtype=torch.float64).view(4, 1, 1).expand(4, 2, 4)
    problem = pose(net, (2, 4), examples=(inputs, torch.zeros(4, dtype=torch.int64)))
    ProsPr(inner_steps=1, batch=2).score(problem)
    assert not problem.warnings


def test_evaluation_mode_uses_the_statistics_of_batch_norm(
    net: nn.Module, data: Examples, pose: Pose
) -> None:
    scores = ProsPr(inner_steps=0, mode="eval").score(pose(net, (2, 4), examples=data))
    cross_entropy(net.eval()(data[0]), data[1]).backward()
    for name, score in scores.items():
        weight = net.get_parameter(name)
        assert torch.allclose(score, (weight * weight.grad).abs(), rtol=1e-9)


@pytest.mark.parametrize("wrong", [{"inner_steps": -1}, {"inner_lr": -0.1}, {"batch": 0}], ids=str)
def test_refuses_a_loop_that_cannot_be(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="inner_steps and inner_lr must be at least 0"):
        ProsPr(**wrong)  # type: ignore[arg-type]
