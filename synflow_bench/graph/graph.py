"""The graph of a network: nodes, and the edges by which they feed each other.

A node is a channel of an activation, or a feature where there are no channels. Node ids are held in tensors
of as many dimensions as the activation that they describe, with size 1 along every dimension in which the
nodes are the same: the channels of an image have ids of shape (1, C, 1, 1).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

CONSTANT = -1
"""The id that stands in the place of a node where an activation is constant."""


@dataclass(frozen=True)
class View:
    """The part of a parameter or a buffer that an operation sees: all of it, transposed, sliced or reshaped.

    Attributes:
        name: The name of the tensor in the network.
        shape: The shape of the view, as are `stride` and `offset`, counted in entries.
        stride: The strides of the view.
        offset: The offset of the first entry of the view.
        base_shape: The shape of the tensor.
        base_stride: The strides of the tensor.
    """

    name: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    base_shape: tuple[int, ...]
    base_stride: tuple[int, ...]

    def of(self, tensor: Tensor) -> Tensor:
        """Return the same view of a tensor made by `laid_out` or `blank`; it shares its memory."""
        return tensor.as_strided(self.shape, self.stride, self.offset)

    def laid_out(self, tensor: Tensor) -> Tensor:
        """Return `tensor`, of shape `base_shape`, in the memory layout that `of` needs; copy if necessary."""
        if tensor.stride() == self.base_stride and tensor.storage_offset() == 0:
            return tensor
        return self.blank().copy_(tensor)

    def blank(self) -> Tensor:
        """Return False for every entry of the tensor, in the memory layout that `of` needs."""
        return torch.empty_strided(self.base_shape, self.base_stride, dtype=torch.bool).zero_()


@dataclass(frozen=True)
class LayerEdges:
    """The edges of a linear layer or a convolution: one from every input to every output of a group.

    Attributes:
        inputs: The nodes that feed the layer, (G * I,) int64; after a flatten, a node stands at several
            places.
        outputs: The nodes that the layer makes, (G * O,) int64.
        weight: The weights, viewed as (G, O, I, ...): groups, outputs and inputs of each group, and kernel
            positions. An edge exists while any of its positions is kept. None for weights without a name,
            which no mask can prune.
        groups: The number of groups G.
        active: False for kernel positions that meet nothing but padding, wherever the kernel stands: their
            weights never act. Broadcasts to the shape of `weight`; None where all positions act.
    """

    inputs: Tensor
    outputs: Tensor
    weight: View | None
    groups: int
    active: Tensor | None = None

    @property
    def view(self) -> View | None:
        """The weights of the edges."""
        return self.weight

    @cached_property
    def constant(self) -> bool:
        """True if only constants feed the layer, such as a learned token that becomes a query."""
        return bool((self.inputs == CONSTANT).all())

    def kept(self, mask: Tensor | None) -> Tensor | None:
        """Return the edges that a mask keeps, seen through `view`; None if all exist.

        The result broadcasts to (G, O, I).
        """
        if self.active is not None:
            mask = self.active if mask is None else mask & self.active
        return mask if mask is None or mask.ndim <= 3 else mask.flatten(3).any(-1)

    def forward(self, reached: Tensor, kept: Tensor | None) -> None:
        """Mark the outputs that have an edge from a marked input; without `kept`, all edges exist."""
        sources = reached[self.inputs].view(self.groups, 1, -1)
        targets = (sources if kept is None else kept & sources).any(-1)
        reached[self.outputs] = targets.expand(self.groups, self.outputs.numel() // self.groups).reshape(-1)

    def backward(self, reached: Tensor, kept: Tensor | None) -> None:
        """Mark the inputs that have an edge to a marked output; without `kept`, all edges exist."""
        targets = reached[self.outputs].view(self.groups, -1, 1)
        sources = (targets if kept is None else kept & targets).any(1)
        inputs = self.inputs.view(self.groups, -1)
        reached[inputs[sources.expand_as(inputs)]] = True

    def mark(self, on_path: Tensor, from_input: Tensor, to_output: Tensor) -> None:
        """Mark in `on_path`, seen through `view`, the entries that join nodes with these flags."""
        targets, sources = to_output[self.outputs], from_input[self.inputs]
        edges = targets.view(self.groups, -1, 1) & sources.view(self.groups, 1, -1)
        edges = edges.view(*edges.shape, *[1] * (on_path.ndim - 3))
        on_path |= edges if self.active is None else edges & self.active


@dataclass(frozen=True)
class Edges:
    """Single edges: `sources[e]` feeds `targets[e]`, both (E,) int64.

    In a residual sum, each channel has one edge from either side.

    Attributes:
        sources: The nodes from which the edges lead.
        targets: The nodes to which the edges lead.
        scale: A batch norm's or a residual scale, which multiplies what passes along the edges, if any.
        entries: The entries of `scale`, in its logical order, without which the edges do not exist, (E,)
            int64.
    """

    sources: Tensor
    targets: Tensor
    scale: View | None = None
    entries: Tensor | None = None
    constant: ClassVar[bool] = False

    @property
    def view(self) -> View | None:
        """The weights of the edges."""
        return self.scale

    def kept(self, mask: Tensor | None) -> Tensor | None:
        """Return the edges (E,) that a mask keeps, seen through `view`; None if all exist."""
        return None if mask is None or self.entries is None else mask.take(self.entries)

    def forward(self, reached: Tensor, kept: Tensor | None) -> None:
        """Mark the targets of edges from marked sources; without `kept`, all edges exist."""
        through = reached[self.sources] if kept is None else reached[self.sources] & kept
        reached[self.targets[through]] = True

    def backward(self, reached: Tensor, kept: Tensor | None) -> None:
        """Mark the sources of edges to marked targets; without `kept`, all edges exist."""
        through = reached[self.targets] if kept is None else reached[self.targets] & kept
        reached[self.sources[through]] = True

    def mark(self, on_path: Tensor, from_input: Tensor, to_output: Tensor) -> None:
        """Mark in `on_path`, seen through `view`, the entries that join nodes with these flags."""
        if self.entries is not None:
            set_entries(on_path, self.entries[from_input[self.sources] & to_output[self.targets]])


@dataclass(frozen=True)
class NodeValues:
    """Entries that belong to nodes and are no edges: biases, a batch norm's shifts and running statistics.

    Entry `entries[e]` of `values`, in its logical order, belongs to `nodes[e]`, both (E,) int64.
    """

    values: View
    nodes: Tensor
    entries: Tensor


@dataclass(frozen=True)
class Mix:
    """Nodes that share a softmax or a norm's statistics: a node that is marked marks all of its row.

    Attributes:
        nodes: The rows, (R, n) int64, with `CONSTANT` where there is no node.
    """

    nodes: Tensor
    view: ClassVar[None] = None
    constant: ClassVar[bool] = False

    def kept(self, mask: Tensor | None) -> None:
        """Return None: no mask cuts what nodes share."""

    def forward(self, reached: Tensor, kept: Tensor | None) -> None:  # noqa: ARG002 - as in the other steps
        """Mark all nodes of the rows that have a marked one."""
        there = self.nodes != CONSTANT
        rows = (reached[self.nodes] & there).any(1, keepdim=True)
        reached[self.nodes[rows & there]] = True

    backward = forward


@dataclass(frozen=True)
class Graph:
    """The nodes of a network and the edges between them, for one shape of input.

    The last three attributes serve those who remove channels.

    Attributes:
        inputs: The nodes of the network's input.
        outputs: The nodes of the network's output.
        moves: The edges, and what nodes share without an edge, in the order of computation.
        node_values: The parameters and buffers that belong to nodes.
        opaque: The names of parameters that are used in a way that edges do not describe: the effect of
            their masks is not known.
        coupled: A number per node, (nodes,) int64, equal for nodes that must stay or go together because a
            sum, a norm over several channels or a group of a convolution joins them. Such a group may go when
            none of it reaches the output, which leaves the output as it is.
        fixed: Nodes that cannot be removed by slicing parameters and buffers alone, (nodes,) bool: inputs,
            outputs, and nodes that are cut, split or combined with a constant of a given size.
        mixed: Nodes that share a softmax or a norm's statistics with others, (nodes,) bool: each can change
            its whole group, although no edge joins them.
    """

    inputs: Tensor
    outputs: Tensor
    moves: tuple[LayerEdges | Edges | Mix, ...]
    node_values: tuple[NodeValues, ...]
    coupled: Tensor
    fixed: Tensor
    mixed: Tensor
    opaque: frozenset[str]

    @cached_property
    def steps(self) -> tuple[LayerEdges | Edges, ...]:
        """The edges, in the order of computation."""
        return tuple(move for move in self.moves if not isinstance(move, Mix))

    @property
    def num_nodes(self) -> int:
        """The number of nodes."""
        return self.coupled.numel()

    @property
    def views(self) -> Iterator[View]:
        """All uses of parameters and buffers that edges and nodes describe."""
        yield from (step.view for step in self.steps if step.view is not None)
        yield from (each.values for each in self.node_values)

    @cached_property
    def names(self) -> frozenset[str]:
        """The parameters and buffers that the network uses."""
        return self.opaque | {view.name for view in self.views}


@dataclass(frozen=True)
class Untraceable:
    """The outcome of tracing a network whose graph cannot be found; `reason` is one line."""

    reason: str


def entries_of(view: View) -> Tensor:
    """Return the numbers of the entries of `view` in its logical order, in its shape."""
    return torch.arange(prod(view.shape)).view(view.shape)


def set_entries(flags: Tensor, entries: Tensor) -> None:
    """Set the flags with these numbers, in logical order."""
    flags.put_(entries, torch.ones_like(entries, dtype=torch.bool))


class GraphBuilder:
    """Collects nodes, edges and what belongs to nodes while a network is traced."""

    def __init__(self) -> None:
        self.count = 0
        self.opaque: set[str] = set()
        self._moves: list[LayerEdges | Edges | Mix] = []
        self._node_values: list[NodeValues] = []
        self._coupled: list[tuple[Tensor, Tensor]] = []
        self._fixed: list[Tensor] = []
        self._mixed: list[Tensor] = []

    def add_nodes(self, count: int) -> Tensor:
        """Add `count` nodes; return them, (count,) int64."""
        self.count += count
        return torch.arange(self.count - count, self.count)

    def fix(self, ids: Tensor) -> None:
        """Note that these nodes cannot be sliced away."""
        self._fixed.append(nodes_in(ids))

    def couple(self, first: Tensor, second: Tensor) -> None:
        """Note that `first[i]` and `second[i]` stay or go together; one side may be a single node."""
        both = torch.stack(_broadcast(first.flatten(), second.flatten()))
        first, second = both[:, (both != CONSTANT).all(0)]
        self._coupled.append((first, second))

    def mix(self, ids: Tensor, dimensions: Iterable[int]) -> None:
        """Note that nodes share a sum or statistics along `dimensions`, so that each can change all."""
        members = nodes_in(ids)
        self.couple(members, members[-1:])
        if members.numel() > 1:
            self._mixed.append(members)
            self._moves.append(Mix(torch.unique(_rows(ids, dimensions), dim=0)))

    def join(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the nodes that two activations feed element by element.

        Where one of them is constant, these are the nodes of the other.
        """
        one, two = _broadcast(first, second)
        joined = torch.where(one == CONSTANT, two, one)
        self.fix(joined[((one == CONSTANT) | (two == CONSTANT)) & (joined != CONSTANT)])
        meet = (one != two) & (one != CONSTANT) & (two != CONSTANT)
        sources, where = _pairs(one[meet], two[meet])
        targets = self.add_nodes(sources[0].numel())
        self.add_edges(torch.cat(sources), targets.repeat(2))
        return joined.masked_scatter(meet, targets[where])

    def merge(self, ids: Tensor, dimensions: Iterable[int]) -> Tensor:
        """Return one node in place of all along `dimensions`, which all of them feed."""
        over = [d % ids.ndim for d in dimensions]
        shape = [1 if d in over else size for d, size in enumerate(ids.shape)]
        rows = _rows(ids, over)
        if rows.shape[1] == 1:
            return ids
        different, where = torch.unique(rows, dim=0, return_inverse=True)
        return self._one_each(different)[where].view(shape)

    def scale(self, ids: Tensor, scale: View) -> Tensor:
        """Return nodes that `ids` feed while the entry of `scale` at their place is kept."""
        nodes, entries, where = self._pairs_at(ids, scale)
        targets = self.add_nodes(nodes.numel())
        self.add_edges(nodes, targets, scale, entries)
        wide = _broadcast(ids, entries_of(scale))[0]
        return wide.masked_scatter(wide != CONSTANT, targets[where])

    def add_values(self, ids: Tensor, values: View) -> None:
        """Note that the entries of `values` belong to the nodes at their places."""
        nodes, entries, _ = self._pairs_at(ids, values)
        self._node_values.append(NodeValues(values, nodes, entries))

    def add_edges(
        self, sources: Tensor, targets: Tensor, scale: View | None = None, entries: Tensor | None = None
    ) -> None:
        """Add an edge from every source to its target, channel by channel."""
        if sources.numel():
            self._moves.append(Edges(sources, targets, scale, entries))
            self.couple(sources, targets)

    def add_layer(
        self, inputs: Tensor, outputs: int, weight: View | None, groups: int, active: Tensor | None = None
    ) -> Tensor:
        """Add nodes that are weighted sums of `inputs`, group by group; return them, (outputs,)."""
        targets = self.add_nodes(outputs)
        self._moves.append(LayerEdges(inputs, targets, weight, groups, active))
        if groups > 1:
            for sources, sums in zip(inputs.chunk(groups), targets.chunk(groups), strict=True):
                members = torch.cat([sources, sums])
                self.couple(members, members[-1:])
        return targets

    def weighs(self, ids: Tensor) -> bool:
        """Return True if weights lead to some of these nodes."""
        led = torch.zeros(self.count + 1, dtype=torch.bool)
        for values in self._node_values:
            led[values.nodes] = True
        for move in self._moves:
            if isinstance(move, LayerEdges):
                led[move.outputs] = True
            elif isinstance(move, Edges) and move.scale is not None:
                led[move.targets] = True
            else:
                move.forward(led, None)
        return bool(led[ids].any())

    def build(self, inputs: Tensor, outputs: Tensor) -> Graph:
        """Return the graph of all that was added."""
        return Graph(
            inputs=nodes_in(inputs),
            outputs=nodes_in(outputs),
            moves=tuple(self._moves),
            node_values=tuple(self._node_values),
            coupled=_components(self.count, self._coupled),
            fixed=self._marked([*self._fixed, nodes_in(inputs), nodes_in(outputs)]),
            mixed=self._marked(self._mixed),
            opaque=frozenset(self.opaque),
        )

    def _marked(self, several: Iterable[Tensor]) -> Tensor:
        marked = torch.zeros(self.count, dtype=torch.bool)
        for ids in several:
            marked[ids] = True
        return marked

    def _one_each(self, rows: Tensor) -> Tensor:
        """Return for each row its only node, or a new one that all of the row feed."""
        ordered = rows.sort(dim=1).values
        again = torch.zeros_like(ordered, dtype=torch.bool)
        again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
        members = ~again & (ordered != CONSTANT)
        several = members.sum(1) > 1
        nodes = rows.amax(1)
        nodes[several] = self.add_nodes(int(several.sum()))
        members &= several[:, None]
        self.add_edges(ordered[members], nodes[:, None].expand_as(rows)[members])
        return nodes

    def _pairs_at(self, ids: Tensor, view: View) -> tuple[Tensor, Tensor, Tensor]:
        """Return the different pairs of a node and an entry at one place, and the pair of each place."""
        numbers = entries_of(view)
        nodes, entries = _broadcast(ids, numbers)
        there = nodes != CONSTANT
        if entries.numel() == numbers.numel() and bool(there.all()):
            # Every entry has one place: the pairs differ already.
            return nodes.flatten(), entries.flatten(), torch.arange(entries.numel())
        (nodes, entries), where = _pairs(nodes[there], entries[there])
        return nodes, entries, where


def nodes_in(ids: Tensor) -> Tensor:
    """Return the nodes among `ids`, each once, in order."""
    nodes: Tensor = torch.unique(ids[ids != CONSTANT])
    return nodes


def _rows(ids: Tensor, dimensions: Iterable[int]) -> Tensor:
    """Return `ids` as rows, (R, n): those along `dimensions` of each place along the others."""
    over = sorted(d % ids.ndim for d in dimensions)
    rest = [d for d in range(ids.ndim) if d not in over]
    return ids.permute(*rest, *over).reshape(prod(ids.shape[d] for d in rest), -1)


def collapse(ids: Tensor) -> Tensor:
    """Return `ids` with size 1 along every dimension in which they are the same."""
    for d in range(ids.ndim):
        first = ids.narrow(d, 0, 1) if ids.shape[d] else ids
        if ids.shape[d] > 1 and (ids.stride(d) == 0 or bool((ids == first).all())):
            ids = first
    return ids


def _broadcast(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    # Not `broadcast_shapes`, which loads sympy.
    one, two = torch.broadcast_tensors(first, second)  # type: ignore[no-untyped-call]
    return one, two


def _pairs(first: Tensor, second: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Return the different pairs, (P,) each, and the number of each pair among them."""
    span = int(second.max()) + 1 if second.numel() else 1
    codes, where = torch.unique(first * span + second, return_inverse=True)
    return (codes // span, codes % span), where


def _components(count: int, coupled: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the connected components of coupled nodes, each named by the first node in it."""
    label = torch.arange(count)
    pairs = torch.cat([torch.stack(pair) for pair in coupled], dim=1) if coupled else torch.empty(2, 0).long()
    while True:
        # Both ends take the smaller label, then every label the label of its own: depths halve each time.
        least = torch.minimum(label[pairs[0]], label[pairs[1]])
        best = label.scatter_reduce(0, label[pairs].flatten(), least.repeat(2), "amin")
        best = best.scatter_reduce(0, pairs.flatten(), least.repeat(2), "amin")
        best = best[best]
        if torch.equal(best, label):
            return label
        label = best
