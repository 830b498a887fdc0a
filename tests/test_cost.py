"""Costs: closed forms of small networks, and a counter of the products that torch computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.utils._python_dispatch import TorchDispatchMode

from synflow_bench.cost import PassCounter, Span, cost_of, uncounted_layer
from synflow_bench.metrics import uses_of_weights

INPUTS = 8


class Products(TorchDispatchMode):
    """Counts the multiplications of all products of matrices and of all convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        match func._schema.name:
            case "aten::mm":
                self.macs += args[0].numel() * args[1].shape[1]
            case "aten::addmm":
                self.macs += args[1].numel() * args[2].shape[1]
            case "aten::convolution":
                weight, gathered = args[1], args[0] if args[6] else result
                self.macs += weight.numel() * gathered[:, 0].numel()
            case "aten::convolution_backward":
                gradient, image, weight = args[:3]
                gathered = image if args[7] else gradient
                self.macs += sum(args[10][:2]) * weight.numel() * gathered[:, 0].numel()
        return result


def fully_connected() -> nn.Module:
    return nn.Sequential(nn.Linear(INPUTS, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (2, 2, 2)),
        nn.Conv2d(2, 4, 3, padding=1, groups=2),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(4, 3, 2, stride=2),
        nn.Flatten(),
        nn.Linear(48, 3),
    )


FORWARD = {fully_connected: 6 * 8 + 5 * 6 + 3 * 5, convolutional: 4 * 36 + 4 * 48 + 144}
"""The multiplications of one example: entries of a weight times the positions at which each is used."""
NETWORKS = pytest.mark.parametrize("network", list(FORWARD), ids=lambda make: make.__name__)
Make = Callable[[], nn.Module]


def examples(number: int) -> Tensor:
    """Inputs that ask for their gradients, so that every layer has both of its derivatives."""
    return torch.randn(number, INPUTS, generator=torch.Generator().manual_seed(0)).requires_grad_()


@NETWORKS
def test_a_forward_pass_costs_every_use_of_every_weight_for_every_example(network: Make) -> None:
    counter, model = PassCounter(), network()
    with counter.counting(), torch.no_grad():
        model(examples(7))
    assert counter.macs == 7 * FORWARD[network]
    model(examples(1))
    assert counter.macs == 7 * FORWARD[network]
    assert counter.passes(model, uses_of_weights(model, torch.zeros(1, INPUTS))[0]) == 7


@NETWORKS
def test_a_backward_pass_costs_two_forward_passes_like_the_products_that_torch_computes(
    network: Make,
) -> None:
    counter, products, model = PassCounter(), Products(), network()
    with counter.counting(), products:
        model(examples(4)).square().sum().backward()
    assert counter.macs == 3 * 4 * FORWARD[network] == products.macs


@NETWORKS
def test_a_backward_pass_through_a_backward_pass_costs_six_forward_passes(network: Make) -> None:
    counter, products, model = PassCounter(), Products(), network()
    inputs = examples(2)
    wanted = [inputs, *model.parameters()]
    with counter.counting(), products:
        gradients = torch.autograd.grad(model(inputs).square().sum(), wanted, create_graph=True)
        assert counter.macs == 3 * 2 * FORWARD[network]
        product = sum((each.square().sum() for each in gradients), torch.zeros(()))
        torch.autograd.grad(product, wanted)
    assert counter.macs == 9 * 2 * FORWARD[network]
    if network is fully_connected:  # torch computes some products of convolutions together with others
        assert products.macs == counter.macs


def test_only_layers_that_gradients_pass_count_backward() -> None:
    counter, model = PassCounter(), fully_connected()
    with counter.counting():
        middle = model[:3](examples(1)).detach()
        model[3:](middle).sum().backward()
    assert counter.macs == FORWARD[fully_connected] + 2 * 15


@pytest.mark.parametrize("part", ["output", "state"])
def test_a_recurrent_layer_counts_backward_once_whichever_output_is_used(part: str) -> None:
    counter, layer = PassCounter(), nn.LSTM(3, 5, batch_first=True)
    forward = 2 * 4 * (4 * 5 * 3 + 4 * 5 * 5)
    with counter.counting():
        output, (hidden, cell) = layer(torch.ones(2, 4, 3))
        used = output.sum() if part == "output" else hidden.sum() + cell.sum()
        used.backward()
    assert counter.macs == 3 * forward


def test_attention_counts_its_projections() -> None:
    counter, layer = PassCounter(), nn.MultiheadAttention(4, 2, batch_first=True)
    tokens = torch.ones(3, 5, 4)
    with counter.counting():
        layer(tokens, tokens, tokens)[0].sum().backward()
    assert counter.macs == 3 * 3 * 5 * (12 * 4 + 4 * 4)


def test_an_error_ends_the_count() -> None:
    counter = PassCounter()

    def fail() -> None:
        with counter.counting():
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    fully_connected()(examples(1))
    assert counter.macs == 0


def test_a_dense_training_costs_one() -> None:
    cost = cost_of([Span(600, 40)], 0.0, examples=600, dense_macs=40)
    assert (cost.training, cost.pruning, cost.total) == (1, 0, 1)
    assert (cost.examples, cost.dense_macs, cost.not_counted) == (600, 40, None)


def test_dense_gradients_cost_as_in_rigl() -> None:
    """A step with the gradients of all weights costs 2 f_S + f_D (Evci et al. 2020, appendix on FLOPs)."""
    sparse, dense, interval = 10, 40, 100
    steps = [Span(32 * interval, sparse), Span(32, sparse, dense_gradients=32)]
    per_step = sum(span.total(dense) for span in steps) / 32 / (interval + 1)
    assert per_step == pytest.approx((3 * sparse * interval + 2 * sparse + dense) / (interval + 1))


def test_a_forward_pass_without_derivatives_costs_a_third_of_a_step() -> None:
    assert Span(0, 10, forward_only=30).total(40) == Span(10, 10).total(40) == 300


@given(
    st.lists(st.builds(Span, st.integers(0, 10**7), st.integers(0, 10**9)), max_size=4),
    st.floats(0, 1e9),
    st.integers(1, 10**7),
)
def test_the_total_is_the_sum_of_its_parts(spans: list[Span], passes: float, seen: int) -> None:
    cost = cost_of(spans, passes, examples=seen, dense_macs=10**9)
    assert cost.total == pytest.approx((cost.training or 0) + (cost.pruning or 0))
    assert cost.pruning == pytest.approx(passes / (3 * seen))


def test_no_cost_is_given_where_there_is_no_unit() -> None:
    assert "no step" in str(cost_of([], 5.0, examples=0, dense_macs=40).not_counted)
    assert "no weight" in str(cost_of([Span(9, 0)], 5.0, examples=9, dense_macs=0).not_counted)


class Mixing(nn.Module):
    def __init__(self, of: str) -> None:
        super().__init__()
        self.of = of
        self.table = nn.Parameter(torch.randn(6, INPUTS))
        self.shift = nn.Parameter(torch.randn(1, INPUTS))
        self.inner = nn.Linear(INPUTS, 6)
        self.words = nn.Embedding(6, INPUTS)

    def forward(self, x: Tensor) -> Tensor:
        match self.of:
            case "einsum":
                return torch.einsum("ni,oi->no", x, self.table)
            case "scaled":
                return nn.functional.linear(x, self.table / self.table.norm(dim=1, keepdim=True))
            case "by another module":
                return nn.functional.linear(x, self.inner.weight)
            case "tied":
                return x @ self.words.weight.T
            case "looked up":
                return self.inner(x + self.words(torch.arange(1)))
            case "between activations":
                return self.inner(x + self.shift) @ self.inner(x + self.table[:1]).T
        return self.inner(x * self.table[0] + self.shift)


@pytest.mark.parametrize(
    ("of", "layer"),
    [
        ("einsum", "1.table"),
        ("scaled", "1.table"),
        ("by another module", "1.inner.weight"),
        ("tied", "1.words.weight"),
        ("looked up", None),
        ("between activations", None),
        ("added and scaled", None),
    ],
)
def test_the_layer_that_cannot_be_counted_is_named(of: str, layer: str | None) -> None:
    model, example = nn.Sequential(nn.Linear(INPUTS, INPUTS), Mixing(of)), torch.ones(1, INPUTS)
    assert uncounted_layer(model, uses_of_weights(model, example)[0], example) == layer
    cost = cost_of([Span(9, 9)], 0.0, examples=9, dense_macs=9, uncounted=layer)
    assert cost.not_counted is None if layer is None else repr(layer) in str(cost.not_counted)


def test_weights_that_a_layer_computes_of_others_are_counted() -> None:
    model, example = nn.Sequential(weight_norm(nn.Linear(INPUTS, 3))), torch.ones(1, INPUTS)
    assert uncounted_layer(model, uses_of_weights(model, example)[0], example) is None


def test_counting_leaves_no_hook_behind() -> None:
    with PassCounter().counting():
        nn.Linear(2, 2)(torch.ones(1, 2))
    assert not nn.modules.module._has_any_global_hook()
