"""Numbers with an exponent per tensor: as in float64 where it suffices, and right beyond its range."""

from __future__ import annotations

from collections.abc import Callable
from math import log2

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from synflow_bench.scores import WideTensor, log2_of_sum

OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sum": lambda x, y: x + y,
    "difference": lambda x, y: 3 * x - y,
    "product": lambda x, y: x * y,
    "quotient": lambda x, y: x / (y.abs() + 1),
    "matrices": lambda x, y: x @ y.transpose(-1, -2),
    "relu in place": lambda x, _: F.relu(x * 2, inplace=True),
    "concatenation": lambda x, y: torch.cat([x, y, x], dim=1),
    "stack": lambda x, y: torch.stack([x, y]).mean(0),
    "pooling": lambda x, _: F.avg_pool2d(F.max_pool2d(x, 2), 2),
    "adaptive": lambda x, _: F.adaptive_avg_pool2d(x, 1).flatten(1),
    "softmax": lambda x, _: (x / 1e6).softmax(-1),
    "relu6": lambda x, _: F.relu6(x),
    "tanh": lambda x, y: (x / (y.abs() + 1)).tanh(),
    "layer norm": lambda x, _: F.layer_norm(x, x.shape[-1:]),
    "views": lambda x, y: x.permute(1, 0, 2, 3).reshape(3, -1)[1:, ::2] + y.sum() * 1e-3,
    "padding": lambda x, _: F.pad(x, (1, 1)).view(-1),
    "in place": lambda x, y: x.clone().add_(y).mul_(2),
    "into a part": lambda x, y: written(x, lambda z: z[:, :2].mul_(3).add_(y[:, 1:])),
    "zeros into a part": lambda x, _: written(x, lambda z: z[..., ::2].zero_()),
    "through a view": lambda x, y: written(x, lambda z: z.view(-1).add_(y.flatten())),
    "into halves": lambda x, _: written(x, lambda z: z.chunk(2, -1)[1].add_(z.chunk(2, -1)[0])),
    "into zeros": lambda x, y: written(torch.zeros_like(x), lambda z: z[:, 1:].copy_((x * y)[:, 1:])),
    "chosen entries": lambda x, _: written(x, lambda z: z[0].masked_fill_(torch.eye(4) > 0, 2.0)),
}


def written(x: Tensor, write: Callable[[Tensor], object]) -> Tensor:
    """Return a copy of a tensor after something is written into a part of it."""
    copy = x * 1
    write(copy)
    return copy + 1


@pytest.mark.parametrize("name", OPERATIONS)
@settings(max_examples=15)
@given(seed=st.integers(0, 2**31), order=st.integers(-30, 30))
def test_operations_are_those_of_float64(name: str, seed: int, order: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(2, 3, 4, 4, generator=draws, dtype=torch.float64) for _ in range(2))
    x = x * 2.0**order
    with torch.no_grad():
        expected = OPERATIONS[name](x.clone(), y.clone())
        found = OPERATIONS[name](WideTensor.of(x), WideTensor.of(y))
    assert isinstance(found, WideTensor)
    torch.testing.assert_close(found.plain(), expected, rtol=1e-12, atol=1e-12 * float(expected.abs().max()))


@settings(max_examples=25)
@given(seed=st.integers(0, 2**31), scale=st.sampled_from([2.0**-60, 1.0, 2.0**70]))
def test_layers_scale_with_their_input_far_beyond_float64(seed: int, scale: float) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = nn.Sequential(
            nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5, bias=False)
        )
        x = torch.rand(1, 3, 4, 4, dtype=torch.float64)
    layer = layer.double()
    for weight in layer.parameters():
        weight.data.abs_()
    with torch.no_grad():
        expected = layer(x)
        found = layer(WideTensor.of(x * scale, 5000))
    assert found.exponent > 4000
    torch.testing.assert_close(found.at(found.exponent), expected * scale * 2.0 ** (5000 - found.exponent))


def test_batch_norm_and_biases_add_at_their_own_size() -> None:
    norm = nn.BatchNorm2d(2).double().eval()
    nn.init.constant_(norm.bias, 3.0)
    linear = nn.Linear(2, 1).double()
    x = torch.ones(1, 2, 1, 1, dtype=torch.float64)
    with torch.no_grad():
        tiny = linear(norm(WideTensor.of(x, -4000)).flatten(1))
        torch.testing.assert_close(tiny.plain(), linear(torch.full((1, 2), 3.0, dtype=torch.float64)))
        huge = norm(WideTensor.of(x, 4000))
    assert log2_of_sum(huge) == pytest.approx(4001 - log2(1 + norm.eps) / 2)


def test_zero_adds_nothing_to_the_smallest_number() -> None:
    with torch.no_grad():
        found = WideTensor.of(torch.ones(3, dtype=torch.float64), -9000) + torch.zeros(3, dtype=torch.float64)
    assert log2_of_sum(found) == pytest.approx(-9000 + log2(3))


def test_sums_that_have_no_logarithm() -> None:
    assert log2_of_sum(torch.zeros(2)) == -float("inf")
    assert log2_of_sum(-torch.ones(2)) != log2_of_sum(-torch.ones(2))
