"""The small networks: size and initialization."""

from __future__ import annotations

from math import sqrt

import pytest
from torch import nn

from synflow_bench_models.small import conv, fc


def weights(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for name, parameter in model.named_parameters() if name.endswith("weight")]


def test_sizes_follow_from_the_input() -> None:
    sizes = [weight.numel() for weight in weights(fc((1, 28, 28), 10))]
    assert sizes == [784 * 100, *[100 * 100] * 4, 100 * 10]
    sizes = [weight.numel() for weight in weights(conv((1, 28, 28), 10))]
    assert sizes == [9 * 1 * 32, 9 * 32 * 32, 32 * 784 * 10]


@pytest.mark.parametrize("model", [fc(), conv()], ids=["fc", "conv"])
def test_initialization_is_that_of_pytorch(model: nn.Module) -> None:
    for weight in weights(model):
        bound = 1 / sqrt(weight[0].numel())
        assert 0.8 * bound < weight.abs().max().item() <= bound
