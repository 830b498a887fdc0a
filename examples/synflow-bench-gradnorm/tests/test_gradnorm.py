"""GradNorm fulfills the plugin contract, and its scores are the gradients."""

from typing import ClassVar

import pytest
import synflow_bench as sfb
import torch
from synflow_bench.testing import PrunerConformance
from torch import Tensor, nn

from synflow_bench_gradnorm.gradnorm import GradNorm


class TestContract(PrunerConformance):
    """One test per rule."""

    pruner = GradNorm


class TestContractPerLayer(PrunerConformance):
    """The same rules with the other value of the parameter."""

    pruner = GradNorm
    parameters: ClassVar = {"per_layer": True}


@pytest.fixture
def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(12, 4, generator=generator), torch.arange(12) % 3


def problem_of(network: nn.Module, data: tuple[Tensor, Tensor]) -> sfb.Problem:
    return sfb.Problem.of(
        network, input_shape=(4,), num_classes=3, generator=torch.Generator().manual_seed(0), examples=data
    )


def test_scores_of_a_linear_layer_follow_from_the_closed_form(data: tuple[Tensor, Tensor]) -> None:
    network, (inputs, labels) = nn.Linear(4, 3), data
    scores = GradNorm().score(problem_of(network, data))
    errors = network(inputs).softmax(dim=1) - nn.functional.one_hot(labels, 3)
    torch.testing.assert_close(scores["weight"], (errors.T @ inputs).abs())


def test_per_layer_scores_have_norm_one(data: tuple[Tensor, Tensor]) -> None:
    network = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    scores = GradNorm(per_layer=True).score(problem_of(network, data))
    for score in scores.values():
        assert score.norm().item() == pytest.approx(1, rel=1e-5)


def test_it_is_found_by_its_name(data: tuple[Tensor, Tensor]) -> None:
    masks = sfb.prune(nn.Linear(4, 3), "gradnorm", compression=4, input_shape=(4,), data=data)
    assert masks.kept == 3
