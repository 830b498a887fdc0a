"""SynFlow's laws: what flows into a unit flows out of it, and every layer carries the whole."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise, product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import synflow_bench as sfb
from synflow_bench.pruning import Masks, Problem, run_pruner
from synflow_bench.suites import PruningOptions
from synflow_bench_models.resnet import lottery_resnet20 as resnet20
from synflow_bench_models.small import fc
from synflow_bench_models.vgg import lottery_vgg11_bn as vgg11_bn
from synflow_bench_pruners.synflow import SynFlow, SynFlowL2, total_flow

Pose = Callable[..., Problem]
RELATIVE = 1e-6


def without_biases(model: nn.Module) -> nn.Module:
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
    return model


def build(factory: Callable[..., nn.Module], shape: tuple[int, int, int]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return without_biases(factory(shape, 10)).double()


def half_masked(problem: Problem) -> Problem:
    """The problem of a later round, a random half of the weights gone."""
    generator = torch.Generator().manual_seed(4)
    masks = {n: torch.rand(p.shape, generator=generator) < 0.5 for n, p in problem.parameters.items()}
    return problem.at(Masks(masks), density=0.5, round=2)


def flow(problem: Problem) -> float:
    return float(total_flow(problem.transformed(SynFlow().values)).detach())


def in_and_out(scores: dict[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """What flows into and out of every unit between one layer and the next."""
    layers = list(scores.values())
    into = [layer.flatten(1).sum(1) for layer in layers[:-1]]
    out = [layer.transpose(0, 1).flatten(1).sum(1) for layer in layers[1:]]
    return list(zip(into, out, strict=True))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("factory", "shape"), [(fc, (1, 8, 8)), (vgg11_bn, (3, 32, 32))], ids=["fc", "lottery/vgg11-bn"]
)
def test_the_score_into_every_hidden_unit_is_the_score_out_of_it(
    factory: Callable[..., nn.Module], shape: tuple[int, int, int], masked: bool, pose: Pose
) -> None:
    problem = pose(build(factory, shape), shape)
    problem = half_masked(problem) if masked else problem
    scores = SynFlow().score(problem)
    total = flow(problem)
    assert total > 0
    for into, out in in_and_out(scores):
        torch.testing.assert_close(into, out, rtol=RELATIVE, atol=0)
    for name, layer in scores.items():
        assert float(layer.sum()) == pytest.approx(total, rel=RELATIVE), name


def test_biases_break_the_law_and_not_the_formula(pose: Pose) -> None:
    """With biases a layer carries less than R: what a bias brings passes only the layers after it."""
    model = build(fc, (1, 8, 8))
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.uniform_(parameter, -1, 1)
    problem = pose(model, (1, 8, 8))
    sums = [float(layer.sum()) for layer in SynFlow().score(problem).values()]
    assert sums == sorted(sums)
    assert sums[-1] < flow(problem)


def test_scores_are_sums_over_all_paths(pose: Pose) -> None:
    widths = (3, 4, 3, 2)
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    problem = half_masked(pose(without_biases(net).double(), (3,)))
    weights = [p.detach().abs() for p in problem.parameters.values()]
    expected = [torch.zeros_like(w) for w in weights]
    for path in product(*map(range, widths)):
        steps = [(unit, previous) for previous, unit in pairwise(path)]
        strength = torch.stack([w[step] for w, step in zip(weights, steps, strict=True)]).prod()
        for layer, step in zip(expected, steps, strict=True):
            layer[step] += strength
    scores = list(SynFlow().score(problem).values())
    for score, sums in zip(scores, expected, strict=True):
        torch.testing.assert_close(score, sums, rtol=1e-12, atol=0)
    assert float(expected[0].sum()) == pytest.approx(flow(problem), rel=1e-12)


@pytest.mark.parametrize("factory", [vgg11_bn, resnet20], ids=["lottery/vgg11-bn", "lottery/resnet20"])
def test_the_formula_with_every_option_and_any_statistics(
    factory: Callable[..., nn.Module], pose: Pose
) -> None:
    """|w| dR/d|w| of a network whose parameters and statistics really are positive, by backward()."""
    shape = (3, 16, 16)
    model = build(factory, shape)
    generator = torch.Generator().manual_seed(2)
    for tensor in model.state_dict().values():
        if tensor.dim() == 1:
            tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
    absolute = deepcopy(model).eval()
    for tensor in absolute.state_dict().values():
        tensor.abs_()
    problem = pose(model, shape, options=PruningOptions(prune_bias=True, prune_batchnorm=True))
    total = absolute(torch.ones(1, *shape, dtype=torch.float64)).sum()
    total.backward()
    assert flow(problem) == pytest.approx(float(total.detach()), rel=1e-12)
    scores = SynFlow().score(problem)
    assert scores.keys() == dict(model.named_parameters()).keys()
    for name, parameter in absolute.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(scores[name], (parameter * parameter.grad).detach(), rtol=1e-9, atol=0)


def test_another_round_finds_the_network_as_it_was(pose: Pose) -> None:
    problem = pose(build(fc, (1, 8, 8)), (1, 8, 8))
    before = {name: tensor.clone() for name, tensor in problem.model.state_dict().items()}
    SynFlow().score(problem)
    problem.at(problem.masks, density=1.0, round=2)
    assert all(torch.equal(tensor, before[name]) for name, tensor in problem.model.state_dict().items())


def test_tied_weights_score_for_both_of_their_places(pose: Pose) -> None:
    net = without_biases(nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3)).double())
    apart = SynFlow().score(pose(deepcopy_with(net, net[0].weight), (3,)))
    net[2].weight = net[0].weight
    together = SynFlow().score(pose(net, (3,)))
    torch.testing.assert_close(together["0.weight"], apart["0.weight"] + apart["2.weight"])


def deepcopy_with(net: nn.Sequential, weight: nn.Parameter) -> nn.Sequential:
    copy = deepcopy(net)
    copy[2].weight = nn.Parameter(weight.detach().clone())
    return copy


def test_buffers_that_only_select_are_left_alone(pose: Pose) -> None:
    class Selecting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)
            self.register_buffer("open", torch.tensor([True, False, True]))

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.layer(x) * self.open
            return out

    scores = SynFlow().score(pose(Selecting(), (3,)))["layer.weight"]
    assert scores.sum(1).bool().tolist() == [True, False, True]


def test_masks_do_not_depend_on_the_data() -> None:
    model = build(fc, (1, 8, 8))
    generator = torch.Generator().manual_seed(0)
    sets = [None, *((torch.randn(20, 1, 8, 8, generator=generator), torch.arange(20) % 10) for _ in range(2))]
    masks = [
        sfb.prune(model, "synflow[rounds=10]", compression=50, input_shape=(1, 8, 8), data=data, seed=seed)
        for seed, data in enumerate(sets)
    ]
    assert masks[0] == masks[1] == masks[2]


def test_a_hundred_rounds_empty_no_layer_where_one_round_does(pose: Pose) -> None:
    model = build(fc, (1, 8, 8)).float()
    one, hundred = (run_pruner(SynFlow(rounds=t), pose(model, (1, 8, 8)), 1e-3).masks for t in (1, 100))
    assert one.kept == hundred.kept == round(one.size / 1000)
    assert min(one.layer_kept.values()) == 0
    assert min(hundred.layer_kept.values()) > 0


def test_defaults_are_the_papers() -> None:
    assert (SynFlow().rounds, SynFlow().schedule, SynFlow.needs_data) == (100, "exponential", False)


def test_scores_are_sums_of_squared_paths(pose: Pose) -> None:
    widths = (3, 4, 3, 2)
    layers = [nn.Linear(a, b, bias=False).double() for a, b in pairwise(widths)]
    problem = pose(nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2]), (3,))
    squares = [layer.weight.detach().square() for layer in layers]
    expected = [torch.zeros_like(square) for square in squares]
    for path in product(*map(range, widths)):
        steps = [(unit, previous) for previous, unit in pairwise(path)]
        strength = torch.stack([w[step] for w, step in zip(squares, steps, strict=True)]).prod()
        for layer, step in zip(expected, steps, strict=True):
            layer[step] += strength
    for score, sums in zip(SynFlowL2().score(problem).values(), expected, strict=True):
        torch.testing.assert_close(score, sums, rtol=1e-12, atol=0)


def test_the_total_is_the_trace_of_the_path_kernel(pose: Pose) -> None:
    """Each output is a sum of paths; their sizes squared and summed, for inputs of ones."""
    net = nn.Sequential(nn.Linear(3, 5, bias=False), nn.ReLU(), nn.Linear(5, 2, bias=False)).double()
    first, second = (net[i].weight.detach() for i in (0, 2))
    paths = second[:, :, None] * first[None]
    for scores in SynFlowL2().score(pose(net, (3,))).values():
        assert float(scores.sum()) == pytest.approx(float(paths.square().sum()), rel=1e-12)


def test_the_squared_formula_with_every_option_and_any_statistics(pose: Pose) -> None:
    """w dR/dw of a network whose parameters and statistics really are squares, by backward()."""
    shape = (3, 16, 16)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = resnet20(shape, 10).double()
        for tensor in model.state_dict().values():
            if tensor.dim() == 1:
                tensor.add_(0.1 * torch.randn(tensor.shape))
    squares = deepcopy(model).eval()
    for tensor in squares.state_dict().values():
        if tensor.is_floating_point():
            tensor.square_()
    squares(torch.ones(1, *shape, dtype=torch.float64)).sum().backward()
    problem = pose(model, shape, options=PruningOptions(prune_bias=True, prune_batchnorm=True))
    scores = SynFlowL2().score(problem)
    assert scores.keys() == dict(model.named_parameters()).keys()
    for name, parameter in squares.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(scores[name], (parameter * parameter.grad).detach(), rtol=1e-8, atol=0)


def test_a_hundred_rounds_on_masked_squares(pose: Pose) -> None:
    """The rounds by hand, without biases: mask, score, keep the largest of what is left."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = fc((1, 4, 4), 3).double()
    weights = [p.detach().square() for n, p in model.named_parameters() if n.endswith("weight")]
    size = sum(w.numel() for w in weights)
    masks = [torch.ones_like(w) for w in weights]
    for t in range(1, 101):
        current = [(w * m).requires_grad_() for w, m in zip(weights, masks, strict=True)]
        flow = torch.ones(16, dtype=torch.float64)
        for w in current:
            flow = w @ flow
        grads = torch.autograd.grad(flow.sum(), current)
        row = torch.cat([(w * g).detach().reshape(-1) for w, g in zip(current, grads, strict=True)])
        keep = torch.zeros_like(row)
        keep[row.argsort(descending=True, stable=True)[: round(size * 0.05 ** (t / 100))]] = 1
        parts = torch.split(keep, [w.numel() for w in weights])
        masks = [part.view(w.shape) for part, w in zip(parts, weights, strict=True)]
    problem = pose(model, (1, 4, 4), options=PruningOptions(biases="zero"))
    found = run_pruner(SynFlowL2(), problem, 0.05).masks
    assert [mask.double().tolist() for mask in found.values()] == [mask.tolist() for mask in masks]


def test_defaults_of_the_squared_flow_are_those_of_synflow() -> None:
    assert (SynFlowL2().rounds, SynFlowL2().schedule, SynFlowL2.needs_data) == (100, "exponential", False)


class Reads(TorchDispatchMode):
    """Counts the numbers for which a program would wait for a GPU, one at a time."""

    count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += function.overloadpacket.__name__ == "_local_scalar_dense"
        return function(*args, **(kwargs or {}))


def test_a_round_waits_for_the_device_as_often_whatever_the_number_of_layers(pose: Pose) -> None:
    def reads(layers: int, rounds: int) -> int:
        model = nn.Sequential(nn.Flatten(), *[nn.Linear(16, 16) for _ in range(layers)])
        with Reads() as counted:
            run_pruner(SynFlow(rounds=rounds), pose(model, (1, 4, 4)), 0.5)
        return counted.count

    assert reads(2, 6) - reads(2, 3) == reads(8, 6) - reads(8, 3)
