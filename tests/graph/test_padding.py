"""Kernel positions that meet nothing but padding: they are no edges, as derivatives show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import synflow_bench as sfb
from synflow_bench.compaction import compact
from synflow_bench.graph import Graph, effective_masks, reachable, trace
from synflow_bench.host import Host

Effective = Callable[..., dict[str, list[int]]]
Trace = Callable[..., Graph]

CENTER = [int(i == 4) for i in range(9)]
EDGE = [int(i != 4) for i in range(9)]

SIZES = {"kernel_size": st.integers(1, 4), "stride": st.integers(1, 3), "dilation": st.integers(1, 3)}


def acts(model: nn.Module, name: str, example: Tensor) -> Tensor:
    """Flag the weights on which the output depends: derivatives are sums of positive terms here."""
    model.double()
    output = model(torch.rand_like(example, dtype=torch.float64) + 1)
    total = (output * (torch.rand_like(output) + 1)).sum()
    (slopes,) = torch.autograd.grad(total, [model.get_parameter(name)])
    return slopes != 0


def found(model: nn.Module, name: str, example: Tensor) -> Tensor:
    graph = trace(model, example)
    assert isinstance(graph, Graph), graph
    return effective_masks(graph, {name: torch.ones_like(model.get_parameter(name), dtype=torch.bool)})[name]


@settings(max_examples=60)
@given(
    options=st.fixed_dictionaries(SIZES),
    sides=st.lists(st.integers(1, 5), min_size=1, max_size=2),
    padding=st.integers(0, 4),
    groups=st.sampled_from([1, 2]),
    transposed=st.booleans(),
)
def test_a_kernel_position_acts_where_the_output_depends_on_it(
    options: dict[str, int], sides: list[int], padding: int, groups: int, transposed: bool
) -> None:
    kinds: dict[tuple[int, bool], Any] = {
        (1, False): nn.Conv1d,
        (2, False): nn.Conv2d,
        (1, True): nn.ConvTranspose1d,
        (2, True): nn.ConvTranspose2d,
    }
    kind = kinds[len(sides), transposed]
    layer = kind(2, 4, **options, padding=padding, groups=groups, bias=False).double()
    example = torch.ones(1, 2, *sides, dtype=torch.float64)
    try:
        layer(example)
    except RuntimeError:
        return  # nothing comes out: the kernel or the padding is too large
    assert torch.equal(found(layer, "weight", example), acts(layer, "weight", example))


class Padded(nn.Module):
    """A convolution of an image that is padded beforehand."""

    def __init__(self, *sides: int, mode: str = "constant", value: float | None = None) -> None:
        super().__init__()
        self.sides, self.mode, self.value = sides, mode, value
        self.layer = nn.Conv2d(1, 2, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(F.pad(x, self.sides, self.mode, self.value))
        return out


@pytest.mark.parametrize(
    "model",
    [Padded(2, 0, 0, 2), Padded(0, 3, 1, 1), *(Padded(1, 1, 1, 1, mode=m) for m in ("reflect", "replicate"))],
    ids=["two sides", "one side", "reflect", "replicate"],
)
def test_padding_before_the_layer_counts_unless_it_repeats_the_input(model: Padded) -> None:
    example = torch.ones(1, 1, 2, 2)
    assert torch.equal(found(model, "layer.weight", example), acts(model, "layer.weight", example))


def test_padding_with_other_numbers_is_no_input_either() -> None:
    example = torch.ones(1, 1, 1, 1)
    ones, zeros = Padded(1, 1, 1, 1, value=1.0), Padded(1, 1, 1, 1)
    assert torch.equal(found(ones, "layer.weight", example), found(zeros, "layer.weight", example))


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_named_paddings_are_followed(padding: str) -> None:
    layer = nn.Conv2d(1, 1, (1, 5), padding=padding, bias=False)
    example = torch.ones(1, 1, 2, 5 if padding == "valid" else 1)
    assert torch.equal(found(layer, "weight", example), acts(layer, "weight", example))


def test_what_feeds_only_positions_that_meet_padding_is_on_no_path(effective: Effective) -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.Conv2d(2, 1, 3, padding=1, bias=False))
    left = effective(net, (1, 1, 1), **{"1__weight": [CENTER, EDGE]})
    assert left == {"0.weight": [1, 0], "1.weight": [*CENTER, *[0] * 9]}


def test_a_layer_that_steps_over_its_input_ends_every_path(effective: Effective, traced: Trace) -> None:
    # The kernel stands at -1 and 1: it never meets the only position.
    net = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Conv1d(1, 1, 1, stride=2, padding=1, bias=False))
    assert effective(net, (1, 1)) == {"0.weight": [0], "1.weight": [0]}
    graph = traced(net, 1, 1)
    assert not reachable(graph, {}).from_input[graph.outputs].any(), "without masks too"


def test_the_weights_that_can_act_in_vgg16_at_28x28(traced: Trace) -> None:
    """Random masks at compression 10: 1,386,212 weights with those that only meet padding."""
    factory = Host.load().models.get("lottery/vgg16-bn")
    torch.manual_seed(0)
    model = factory((1, 28, 28), 10)
    masks = sfb.prune(model, "random", compression=10, input_shape=(1, 28, 28), seed=0)
    left = effective_masks(traced(model, 1, 28, 28), masks)
    assert sum(int(mask.count_nonzero()) for mask in left.values()) == 831_766
    at_1x1 = [name for name in masks if name.startswith("features.conv5")]
    assert at_1x1
    for name in at_1x1:
        assert not left[name][..., [0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 0, 2, 0, 1, 2]].any()


def test_compaction_removes_channels_of_which_only_padding_positions_are_read() -> None:
    first, second = nn.Conv2d(1, 8, 1), nn.Conv2d(8, 8, 3, padding=1)
    net = nn.Sequential(first, nn.BatchNorm2d(8), nn.ReLU(), second, nn.Flatten(), nn.Linear(8, 3))
    mask = torch.zeros(8, 8, 3, 3, dtype=torch.bool)
    mask[:, :2] = True
    mask[:, 2:, 0] = True  # channels 2 to 7: the upper row, which meets only padding
    small = compact(net, {"3.weight": mask}, trace(net, torch.zeros(1, 1, 1, 1)), (1, 1, 1))
    assert small is not None
    assert small.model.get_parameter("0.weight").shape == (2, 1, 1, 1)
    inputs, labels = torch.rand(16, 1, 1, 1), torch.randint(3, (16,))
    with torch.no_grad():
        second.weight.mul_(mask)
    losses = [F.cross_entropy(model.train()(inputs), labels) for model in (net, small.model)]
    whole, cut = (
        torch.autograd.grad(loss, list(model.parameters()))
        for loss, model in zip(losses, (net, small.model), strict=True)
    )
    for (name, _), before, after in zip(net.named_parameters(), whole, cut, strict=True):
        kept = small.masks.get(name, torch.ones_like(after))
        torch.testing.assert_close(after * kept, small.compact_tensor(name, before) * kept)
