"""`grasp-abs` against the explicit Hessian, in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import hessian
from torch.nn.functional import cross_entropy

from synflow_bench import Problem
from synflow_bench_pruners.grasp_abs import GraspAbs


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
