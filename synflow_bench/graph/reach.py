"""Reachable nodes and effective weights of a masked network.

Vysogorets & Kempe, "Connectivity Matters: Neural Network Pruning Through the Lens of Effective Sparsity",
2023, arXiv 2107.02306.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from synflow_bench.graph.graph import CONSTANT, Graph, set_entries


@dataclass(frozen=True)
class Reachability:
    """The nodes that paths of kept weights join to the input and to the output.

    Attributes:
        from_input: Nodes to which a path leads from the input, (nodes,) bool.
        to_output: Nodes from which a path leads to the output, (nodes,) bool. All others are dead: they
            cannot change the output.
    """

    from_input: Tensor
    to_output: Tensor


def reachable(graph: Graph, masks: Mapping[str, Tensor]) -> Reachability:
    """Follow paths of kept weights forward from the input and backward from the output.

    Values do not matter: a weight that is zero is an edge, and nothing can overflow or cancel. But padding is
    no input: a weight that meets only padding wherever its kernel stands is no edge. Biases, shifts
    and running statistics are no edges: a node that has only those is constant, and constants feed nothing.
    A softmax and a norm's statistics join all nodes that share them. All from which something is chosen, by
    its size or by an index, and an index that is computed lead to what is chosen.

    Args:
        graph: The graph of the network.
        masks: Bool tensors by parameter name, True for kept entries; a tensor without a mask is kept.
    """
    kept = _kept(graph, masks)
    return Reachability(_forward(graph, kept)[:-1], _backward(graph, kept, graph.outputs)[:-1])


def effective_masks(graph: Graph, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the masks without the entries that are on no path of kept weights from input to output.

    A layer that only constants feed, such as a learned token, is a start of paths too, as long as they lead
    to a node that is on a path from the input. A bias or a shift stays when its node is on a path. A tensor
    that is used several times keeps what any use needs; one that the network does not use keeps nothing. Nor
    is the entry of a kernel kept that meets nothing but padding for this shape of input, such as the outer
    ones of 3x3 at 1x1.

    Args:
        graph: The graph of the network; the result is wrong where `graph.opaque` has a name of `masks`.
        masks: Bool tensors by parameter name, True for kept entries; a tensor without a mask is kept.

    Returns:
        Masks on the CPU, by the names and of the shapes of `masks`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from synflow_bench.graph import trace
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
        >>> graph = trace(model, torch.ones(1, 2))
        >>> masks = {"0.weight": torch.tensor([[1, 1], [1, 0]]), "1.weight": torch.tensor([[0, 1]])}
        >>> effective_masks(graph, {name: mask.bool() for name, mask in masks.items()})["0.weight"]
        tensor([[False, False],
                [ True, False]])
    """
    kept = _kept(graph, masks)
    start, end = _forward(graph, kept), _backward(graph, kept, graph.outputs)
    if any(step.constant for step in graph.steps):
        alive = (start & end)[:-1].nonzero().flatten()
        start, end = _forward(graph, kept, constants=True), _backward(graph, kept, alive)
    on_path = {view.name: view.blank() for view in graph.views if view.name in masks}
    for step in graph.steps:
        if step.view is not None and step.view.name in on_path:
            start[CONSTANT] = step.constant
            step.mark(step.view.of(on_path[step.view.name]), start, end)
    for each in graph.node_values:
        if each.values.name in on_path:
            alive = start[each.nodes] & end[each.nodes]
            set_entries(each.values.of(on_path[each.values.name]), each.entries[alive])
    return {
        name: on_path[name].logical_and_(mask.cpu()) if name in on_path else torch.zeros_like(mask).cpu()
        for name, mask in masks.items()
    }


def _kept(graph: Graph, masks: Mapping[str, Tensor]) -> list[Tensor | None]:
    """Return the edges that masks keep of each move; None where all exist."""
    laid_out = {
        view.name: view.laid_out(masks[view.name].cpu()) for view in graph.views if view.name in masks
    }
    return [
        move.kept(
            move.view.of(laid_out[move.view.name]) if move.view and move.view.name in laid_out else None
        )
        for move in graph.moves
    ]


def _forward(graph: Graph, kept: Sequence[Tensor | None], *, constants: bool = False) -> Tensor:
    """Mark what the input, or layers of `constants` too, lead to; the last place is that of `CONSTANT`."""
    reached = torch.zeros(graph.num_nodes + 1, dtype=torch.bool)
    reached[graph.inputs] = True
    for move, edges in zip(graph.moves, kept, strict=True):
        reached[CONSTANT] = constants and move.constant
        move.forward(reached, edges)
    return reached


def _backward(graph: Graph, kept: Sequence[Tensor | None], nodes: Tensor) -> Tensor:
    """Mark what leads to some nodes; the last place is that of `CONSTANT`."""
    reached = torch.zeros(graph.num_nodes + 1, dtype=torch.bool)
    reached[nodes] = True
    for move, edges in zip(reversed(graph.moves), reversed(kept), strict=True):
        move.backward(reached, edges)
    return reached
