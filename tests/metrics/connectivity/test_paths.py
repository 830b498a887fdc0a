"""Effective weights, against every path of small networks, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from synflow_bench.metrics.connectivity import Connectivity, Reach, effective_masks, reach, trace

Node = tuple[int, int]
Weight = tuple[str, int, int] | None
KINDS = ("plain", "residual", "concatenated", "gated")


@dataclass
class Graph:
    """Nodes and edges; an edge may have a weight, which is kept or not."""

    edges: dict[Node, list[tuple[Node, Weight]]] = field(default_factory=dict)
    layers: int = 0

    def layer(self, width: int) -> list[Node]:
        self.layers += 1
        return [(self.layers, i) for i in range(width)]

    def add(self, source: Node, target: Node, weight: Weight = None) -> None:
        self.edges.setdefault(source, []).append((target, weight))

    def paths(self, node: Node, ends: set[Node], masks: dict[str, Tensor]) -> Iterator[list[Weight]]:
        """Every path of kept weights from `node` to one of `ends`, as the weights on it."""
        if node in ends:
            yield []
        for target, weight in self.edges.get(node, []):
            if weight is None or masks[weight[0]][weight[1:]]:
                for rest in self.paths(target, ends, masks):
                    yield [weight, *rest]


class Net(nn.Module):
    """Linear layers in the given order, each joined to what came before in its own way."""

    def __init__(self, inputs: int, plan: list[tuple[str, int]]) -> None:
        super().__init__()
        self.plan, self.layers, self.graph = plan, nn.ModuleList(), Graph()
        nodes = self.first = self.graph.layer(inputs)
        for i, (kind, width) in enumerate(plan):
            width = len(nodes) if kind in {"residual", "gated"} else width
            self.layers.append(nn.Linear(len(nodes), width))
            nodes = self._grow(f"layers.{i}.weight", kind, nodes, self.graph.layer(width))
        self.last = nodes

    def _grow(self, name: str, kind: str, before: list[Node], after: list[Node]) -> list[Node]:
        for o, target in enumerate(after):
            for i, source in enumerate(before):
                self.graph.add(source, target, (name, o, i))
        if kind in {"residual", "gated"}:
            for source, target in zip(before, after, strict=True):
                self.graph.add(source, target)
        return before + after if kind == "concatenated" else after

    def forward(self, x: Tensor) -> Tensor:
        for (kind, _), layer in zip(self.plan, self.layers, strict=True):
            y = layer(x.relu())
            match kind:
                case "residual":
                    x = x + y
                case "gated":
                    x = x * y.sigmoid()
                case "concatenated":
                    x = torch.cat([x, y], dim=1)
                case _:
                    x = y
        return x


@st.composite
def networks(draw: st.DrawFn) -> tuple[Net, dict[str, Tensor]]:
    plan = draw(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(1, 3)), min_size=1, max_size=4))
    net = Net(draw(st.integers(1, 3)), plan)
    density = draw(st.sampled_from([0.2, 0.5, 0.8]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    masks = {
        name: torch.rand(p.shape, generator=generator) < density
        for name, p in net.named_parameters()
        if p.ndim > 1
    }
    return net, masks


def described(net: Net) -> Connectivity:
    found = trace(net, torch.zeros(1, len(net.first)))
    assert isinstance(found, Connectivity)
    return found


@settings(deadline=None, max_examples=60)
@given(networks())
def test_a_weight_is_effective_when_some_path_has_it(drawn: tuple[Net, dict[str, Tensor]]) -> None:
    net, masks = drawn
    expected = {name: torch.zeros_like(mask) for name, mask in masks.items()}
    for start in net.first:
        for path in net.graph.paths(start, set(net.last), masks):
            for weight in filter(None, path):
                expected[weight[0]][weight[1:]] = True
    found = effective_masks(described(net), masks)
    assert all(torch.equal(found[name], mask) for name, mask in expected.items())


@settings(deadline=None, max_examples=30)
@given(networks())
def test_removing_what_is_not_effective_changes_nothing_effective(
    drawn: tuple[Net, dict[str, Tensor]],
) -> None:
    net, masks = drawn
    connectivity = described(net)
    once = effective_masks(connectivity, masks)
    twice = effective_masks(connectivity, once)
    assert all(torch.equal(twice[name], mask) for name, mask in once.items())
    assert all(bool((masks[name] | ~mask).all()) for name, mask in once.items()), "it is part of what is kept"


@settings(deadline=None, max_examples=30)
@given(networks())
def test_units_that_are_not_read_cannot_change_the_output(drawn: tuple[Net, dict[str, Tensor]]) -> None:
    net, masks = drawn
    connectivity = described(net)
    found = reach(connectivity, masks)
    x = torch.randn(5, len(net.first))
    with torch.no_grad():
        for name, mask in masks.items():
            net.get_parameter(name).mul_(mask)
        before = net(x)
        disturb(net, connectivity, found)
        assert torch.equal(net(x), before)


def disturb(net: Net, connectivity: Connectivity, found: Reach) -> None:
    """Give other weights and biases to all units that are not read."""
    for i, step in enumerate(s for s in connectivity.steps if hasattr(s, "weight")):
        unread = ~found.read[step.outputs]
        net.layers[i].weight[unread] += 1
        net.layers[i].bias[unread] += 1
