"""Nodes that must stay or go together, for those who remove channels."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from synflow_bench.graph import Graph, LayerEdges, NodeValues

Trace = Callable[..., Graph]


class Block(nn.Module):
    """Two 1x1 convolutions of 2 channels, joined by `join`, then one that reads the result."""

    def __init__(self, join: Callable[[Tensor, Tensor], Tensor], reads: int = 2, **options: int) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 1, **options)
        self.c, self.join = nn.Conv2d(reads, 1, 1), join

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        return self.c(self.join(x, self.b(x)))


def outputs(found: Graph) -> dict[str, list[int]]:
    """The group of each output node, by layer."""
    steps = [step for step in found.steps if isinstance(step, LayerEdges)]
    return {step.weight.name: found.coupled[step.outputs].tolist() for step in steps if step.weight}


def test_a_sum_couples_its_sides_channel_by_channel(traced: Trace) -> None:
    groups = outputs(traced(Block(torch.add), 3, 4, 4))
    assert groups["a.weight"] == groups["b.weight"]
    assert len(set(groups["a.weight"])) == 2


def test_concatenation_and_convolution_couple_nothing(traced: Trace) -> None:
    groups = outputs(traced(Block(lambda x, y: torch.cat([x, y], 1), reads=4), 3, 4, 4))
    assert len({*groups["a.weight"], *groups["b.weight"]}) == 4


def test_a_depthwise_convolution_couples_what_it_reads_to_what_it_gives(traced: Trace) -> None:
    groups = outputs(traced(Block(lambda x, y: y, groups=2), 3, 4, 4))
    assert groups["a.weight"] == groups["b.weight"]
    assert len(set(groups["a.weight"])) == 2


@pytest.mark.parametrize(
    ("norm", "groups"),
    [(nn.BatchNorm2d(4), 4), (nn.GroupNorm(2, 4), 2), (nn.LayerNorm([4, 2, 2]), 1)],
    ids=str,
)
def test_a_norm_couples_the_channels_that_share_statistics(
    traced: Trace, norm: nn.Module, groups: int
) -> None:
    found = traced(nn.Sequential(nn.Conv2d(3, 4, 1), norm, nn.Conv2d(4, 1, 1)), 3, 2, 2)
    assert len(set(outputs(found)["0.weight"])) == groups


def test_every_axis_of_a_parameter_is_described_by_nodes(traced: Trace) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    found = traced(net, 3, 2, 2)
    first, last = (step for step in found.steps if isinstance(step, LayerEdges))
    assert first.inputs.tolist() == found.inputs.tolist()
    groups = found.coupled[first.outputs]
    assert found.coupled[last.inputs].tolist() == groups.repeat_interleave(4).tolist()
    assert last.outputs.tolist() == found.outputs.tolist()
    values = {a.values.name: a for a in found.node_values}
    assert set(values) == {"0.bias", "1.running_mean", "1.running_var", "1.bias", "4.bias"}
    assert all(isinstance(a, NodeValues) for a in values.values())
    assert found.coupled[values["1.running_var"].nodes].tolist() == groups.tolist()
    assert values["1.running_var"].entries.tolist() == [0, 1, 2, 3]


def test_inputs_outputs_and_what_is_cut_are_fixed(traced: Trace) -> None:
    plain = traced(Block(torch.add), 3, 4, 4)
    assert plain.fixed.nonzero().flatten().tolist() == sorted(
        [*plain.inputs.tolist(), *plain.outputs.tolist()]
    )
    cut = traced(Block(lambda x, y: x[:, :1] + y, reads=2), 3, 4, 4)
    (a, *_) = (step for step in cut.steps if isinstance(step, LayerEdges))
    assert cut.fixed[a.outputs].all()


@pytest.mark.parametrize(
    ("norm", "mixed"),
    [(nn.BatchNorm2d(4), 0), (nn.GroupNorm(4, 4), 0), (nn.GroupNorm(2, 4), 4), (nn.Softmax(1), 4)],
    ids=str,
)
def test_only_nodes_that_share_statistics_are_mixed(traced: Trace, norm: nn.Module, mixed: int) -> None:
    found = traced(nn.Sequential(nn.Conv2d(3, 4, 1), norm, nn.Conv2d(4, 1, 1)), 3, 2, 2)
    assert int(found.mixed.sum()) == mixed
