"""SynFlow-L2's sums over paths, and that it is SynFlow of the squared network."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise, product

import pytest
import torch
from torch import nn

from synflow_bench import Problem
from synflow_bench.pruning import run_pruner
from synflow_bench.suites import PruningOptions
from synflow_bench_models.fc import fc
from synflow_bench_models.lottery_resnet import resnet20
from synflow_bench_pruners.synflow_l2 import SynFlowL2

Pose = Callable[..., Problem]


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


def test_the_formula_with_every_option_and_any_statistics(pose: Pose) -> None:
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
    """The rounds by hand, without the network's biases: mask, score, keep the largest of what is left."""
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
    found = run_pruner(SynFlowL2(), pose(model, (1, 4, 4)), 0.05).masks
    assert [mask.double().tolist() for mask in found.values()] == [mask.tolist() for mask in masks]


def test_defaults_are_synflows() -> None:
    assert (SynFlowL2().rounds, SynFlowL2().schedule, SynFlowL2.needs_data) == (100, "exponential", False)
