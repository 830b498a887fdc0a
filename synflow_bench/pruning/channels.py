"""Channels of a network: which weights make and read them, and which channels stay or go together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from math import prod

import torch
from torch import Tensor

from synflow_bench.graph import CONSTANT, Edges, Graph, LayerEdges, View

NONE = -1
"""The number that stands for no channel."""


def channel_labels(
    parameters: Mapping[str, Tensor], graph: Graph
) -> tuple[dict[str, tuple[Tensor, ...]], Tensor]:
    """Number the channels of a network, and say for every weight which channels it makes and reads.

    Channels that sums, norms over several channels or groups of a convolution join have one number. A channel
    has none that cannot be removed: those of the input and the output, those that are cut or split, and
    those that are all that a layer reads or makes, alone or joined.

    Args:
        parameters: The prunable parameters.
        graph: The graph of the network.

    Returns:
        The channels of every entry, as tensors that broadcast to the parameter, for parameters with channels;
        and for every channel the number of its layer, or of the layers that are tied through it.

    Example:
        >>> from torch import nn
        >>> from synflow_bench.graph import trace
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> labels, _ = channel_labels(dict(model.named_parameters()), trace(model, torch.ones(1, 4)))
        >>> {name: [tuple(label.shape) for label in of] for name, of in labels.items()}
        {'0.weight': [(3, 1)], '0.bias': [(3,)], '2.weight': [(1, 3)]}
    """
    numbers, classes = _numbered(graph)
    labels: dict[str, list[Tensor]] = defaultdict(list)
    for view, ids in _uses(graph, numbers):
        if view.name in parameters and bool((ids != NONE).any()):
            label = torch.empty_strided(view.base_shape, view.base_stride, dtype=torch.int32).fill_(NONE)
            view.of(label).copy_(ids)
            labels[view.name].append(_without_repetition(label).long())
    every = [label.flatten() for of in labels.values() for label in of]
    used: Tensor = torch.unique(torch.cat(every)) if every else torch.empty(0).long()
    used = used[used != NONE]
    # Numbers from 0 on, for channels with weights alone.
    again = torch.full((len(classes) + 1,), NONE)
    again[used] = torch.arange(len(used))
    found = {name: tuple(again[each] for each in labels[name]) for name in parameters if name in labels}
    return found, classes[used]


def _numbered(graph: Graph) -> tuple[Tensor, Tensor]:
    """Return a number for every node (nodes + 1,), `NONE` for some and for constants, and their classes."""
    tied = _Ties(graph.coupled)
    for first, second in _shared(graph):
        tied.join(first, second)
    joined = tied.joined()
    stays = torch.zeros(graph.num_nodes, dtype=torch.bool)
    stays[joined[graph.fixed]] = True
    layers = _Ties(torch.arange(graph.num_nodes))
    for step in graph.steps:
        if isinstance(step, LayerEdges):
            for nodes in (step.inputs, step.outputs):
                members: Tensor = torch.unique(joined[nodes[nodes != CONSTANT]])
                if len(members) == 1:
                    stays[members] = True
            layers.join(members, members[:1].expand(len(members)))
    numbers = torch.where(stays[joined], NONE, joined)
    return torch.cat([numbers, torch.tensor([NONE])]), layers.joined()


def _shared(graph: Graph) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the nodes that go together because several layers have the same weights."""
    first: dict[str, LayerEdges] = {}
    for step in graph.steps:
        if not isinstance(step, LayerEdges) or step.weight is None:
            continue
        other = first.setdefault(step.weight.name, step)
        if other is step:
            continue
        pairs = ((other.inputs, step.inputs), (other.outputs, step.outputs))
        if step.weight == other.weight and all(len(one) == len(two) for one, two in pairs):
            yield from pairs
        else:  # as embeddings that are the classifier's weights: all of them stay
            for nodes in (step.inputs, step.outputs, other.inputs, other.outputs):
                yield nodes, graph.outputs[:1].expand(len(nodes))


class _Ties:
    """Numbers that are the same for what is joined, directly or through others."""

    def __init__(self, numbers: Tensor) -> None:
        self._numbers = numbers
        self._pairs: list[Tensor] = []

    def join(self, first: Tensor, second: Tensor) -> None:
        """Join `first[i]` with `second[i]`, except constants."""
        there = (first != CONSTANT) & (second != CONSTANT)
        self._pairs.append(torch.stack([first[there], second[there]]))

    def joined(self) -> Tensor:
        """Return the smallest number of each."""
        if not self._pairs:
            return self._numbers
        label = torch.arange(int(self._numbers.max()) + 1)
        pairs = self._numbers[torch.cat(self._pairs, 1)]
        while True:
            least = torch.minimum(label[pairs[0]], label[pairs[1]])
            best = label.scatter_reduce(0, pairs.flatten(), least.repeat(2), "amin")
            best = best[best]
            if torch.equal(best, label):
                return label[self._numbers]
            label = best


def _uses(graph: Graph, numbers: Tensor) -> Iterator[tuple[View, Tensor]]:
    """Yield every use of a parameter with the channels of its entries, which broadcast to the view."""
    for step in graph.steps:
        if isinstance(step, LayerEdges) and step.weight is not None:
            positions = [1] * (len(step.weight.shape) - 3)
            yield step.weight, numbers[step.outputs].view(step.groups, -1, 1, *positions)
            yield step.weight, numbers[step.inputs].view(step.groups, 1, -1, *positions)
        elif isinstance(step, Edges) and step.scale is not None and step.entries is not None:
            yield step.scale, _of_entries(step.scale, step.entries, numbers[step.targets])
    for each in graph.node_values:
        yield each.values, _of_entries(each.values, each.entries, numbers[each.nodes])


def _of_entries(view: View, entries: Tensor, numbers: Tensor) -> Tensor:
    """Return the channel of every entry; none for an entry that several channels share."""
    size = prod(view.shape)
    least = torch.full((size,), len(numbers) and int(numbers.max()) + 1).scatter_reduce(
        0, entries, numbers, "amin"
    )
    most = torch.full((size,), NONE).scatter_reduce(0, entries, numbers, "amax")
    return torch.where(least == most, most, NONE).view(view.shape)


def _without_repetition(label: Tensor) -> Tensor:
    """Return the label with size 1 along every dimension in which its entries are the same."""
    for d in range(label.dim()):
        first = label.narrow(d, 0, 1)
        if bool((label == first).all()):
            label = first
    return label
