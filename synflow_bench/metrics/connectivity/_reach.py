"""What masks leave of a network: which units the input feeds, and which the output reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from synflow_bench.metrics.connectivity._graph import Attachment, Connection, Connectivity, Link, View

Masks = Mapping[str, Tensor]


@dataclass(frozen=True)
class Reach:
    """`fed` (units,): a path of kept weights leads there from the input. `read` (units,): one leads from
    there to the output, so that what is not read cannot change it. A unit on a path is both.
    """

    fed: Tensor
    read: Tensor


def reach(connectivity: Connectivity, masks: Masks) -> Reach:
    """Follow paths of kept weights forth and back; a tensor without a mask keeps everything.

    `masks` are bool tensors by parameter name. Values play no part: a weight that is zero is an edge, and
    nothing can overflow or cancel. Biases, shifts and running statistics are no edges: a unit that only has
    those is constant, and neither it nor a constant feeds anything.

    Vysogorets & Kempe, "Connectivity Matters: Neural Network Pruning Through the Lens of Effective
    Sparsity", 2023, arXiv 2107.02306.
    """
    return _reach(connectivity, _Kept(connectivity, masks))


def effective_masks(connectivity: Connectivity, masks: Masks) -> dict[str, Tensor]:
    """The masks without what is on no path of kept weights from input to output.

    A bias or a shift stays when its unit is on a path. A tensor that is used several times keeps what any
    use needs; one that the network does not use keeps nothing. Where `connectivity.opaque` has a name of
    `masks`, the answer would be wrong: ask first.
    """
    kept = _Kept(connectivity, masks)
    found = _reach(connectivity, kept)
    on_path = {name: view.blank() for name, view in _views(connectivity) if name in masks}
    for step in connectivity.steps:
        view = step.weight if isinstance(step, Connection) else step.scale
        if view is not None and view.name in on_path:
            _add_edges(step, found, view.of(on_path[view.name]))
    for attachment in connectivity.attachments:
        if attachment.values.name in on_path:
            _add_attached(attachment, found, attachment.values.of(on_path[attachment.values.name]))
    return {
        name: on_path[name].logical_and_(mask.cpu()) if name in on_path else torch.zeros_like(mask).cpu()
        for name, mask in masks.items()
    }


class _Kept:
    """The masks in the layout of the traced tensors, and which pairs of units each connection joins."""

    def __init__(self, connectivity: Connectivity, masks: Masks) -> None:
        self._masks = {
            name: view.laid_out(masks[name].cpu()) for name, view in _views(connectivity) if name in masks
        }
        self._edges = {id(step): self._joined(step) for step in connectivity.steps}

    def edges(self, step: Connection | Link) -> Tensor | None:
        """(G, O, I) of a connection, (E,) of a link; None when all are there."""
        return self._edges[id(step)]

    def _joined(self, step: Connection | Link) -> Tensor | None:
        view = step.weight if isinstance(step, Connection) else step.scale
        if view is None or view.name not in self._masks:
            return None
        seen = view.of(self._masks[view.name])
        if isinstance(step, Connection):
            return seen.flatten(3).any(-1) if seen.ndim > 3 else seen
        return seen.take(step.entries) if step.entries is not None else None


def _reach(connectivity: Connectivity, kept: _Kept) -> Reach:
    # One more place than units: index -1, a constant, is never fed, and it is no matter whether it is read.
    fed, read = torch.zeros(2, connectivity.units + 1, dtype=torch.bool)
    fed[connectivity.inputs] = True
    for step in connectivity.steps:
        _feed(step, kept.edges(step), fed)
    read[connectivity.outputs] = True
    for step in reversed(connectivity.steps):
        _read(step, kept.edges(step), read)
    return Reach(fed[:-1], read[:-1])


def _feed(step: Connection | Link, edges: Tensor | None, fed: Tensor) -> None:
    if isinstance(step, Link):
        through = fed[step.sources] if edges is None else fed[step.sources] & edges
        fed[step.targets[through]] = True
        return
    inputs = fed[step.inputs].view(step.groups, 1, -1)
    through = inputs if edges is None else edges & inputs
    fed[step.outputs] = through.any(-1).expand(step.groups, step.outputs.numel() // step.groups).reshape(-1)


def _read(step: Connection | Link, edges: Tensor | None, read: Tensor) -> None:
    if isinstance(step, Link):
        through = read[step.targets] if edges is None else read[step.targets] & edges
        read[step.sources[through]] = True
        return
    outputs = read[step.outputs].view(step.groups, -1, 1)
    through = (outputs if edges is None else edges & outputs).any(1)
    inputs = step.inputs.view(step.groups, -1)
    read[inputs[through.expand_as(inputs)]] = True


def _add_edges(step: Connection | Link, found: Reach, on_path: Tensor) -> None:
    fed, read = _padded(found.fed), _padded(found.read)
    if isinstance(step, Connection):
        pairs = read[step.outputs].view(step.groups, -1, 1) & fed[step.inputs].view(step.groups, 1, -1)
        on_path |= pairs.view(*pairs.shape, *[1] * (on_path.ndim - 3))
    elif step.entries is not None:
        _set(on_path, step.entries[fed[step.sources] & read[step.targets]])


def _add_attached(attachment: Attachment, found: Reach, on_path: Tensor) -> None:
    alive = found.fed[attachment.units] & found.read[attachment.units]
    _set(on_path, attachment.entries[alive])


def _set(on_path: Tensor, entries: Tensor) -> None:
    on_path.put_(entries, torch.ones_like(entries, dtype=torch.bool))


def _padded(flags: Tensor) -> Tensor:
    return torch.cat([flags, flags.new_zeros(1)])


def _views(connectivity: Connectivity) -> Iterator[tuple[str, View]]:
    views = [step.weight if isinstance(step, Connection) else step.scale for step in connectivity.steps]
    attached = [attachment.values for attachment in connectivity.attachments]
    return ((view.name, view) for view in [*views, *attached] if view is not None)
