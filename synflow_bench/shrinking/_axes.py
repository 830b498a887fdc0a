"""Where units lie in parameters and buffers: along which axis, at which entry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from synflow_bench.metrics.connectivity import NOTHING, Connection, Connectivity, View


@dataclass(frozen=True)
class Axis:
    """One use of dimension `dimension`, of `size` entries, of tensor `name`.

    Entry `entries[i]` is of unit `units[i]`, both (P,) int64; a unit of `NOTHING` is a constant's place.
    """

    name: str
    dimension: int
    size: int
    entries: Tensor
    units: Tensor


@dataclass(frozen=True)
class Axes:
    """All uses of all tensors, and the units (units,) that no slicing of tensors can take out."""

    uses: tuple[Axis, ...]
    unsliceable: Tensor

    @classmethod
    def of(cls, connectivity: Connectivity) -> Axes:
        """Find them; a tensor that any use reads in part or in groups, cannot be sliced for any."""
        uses: list[Axis] = []
        places = list(_places(connectivity))
        rigid = {name for name, _, axes in places if axes is None}
        # One place more than units: -1 stands for a constant.
        stuck = torch.zeros(connectivity.units + 1, dtype=torch.bool)
        for units in _alone(connectivity):
            stuck[units] = True
        for name, units, axes in places:
            if axes is None or name in rigid:
                stuck[units] = True
            else:
                uses.extend(axes)
        return cls(tuple(uses), stuck[:-1])


def stays(axis: Axis, kept: Tensor) -> Tensor:
    """Which pairs of `axis` stay when `kept` (units,) do; those of constants do."""
    return torch.cat([kept, kept.new_ones(1)])[axis.units] if NOTHING in axis.units else kept[axis.units]


def _alone(connectivity: Connectivity) -> Iterator[Tensor]:
    """Units that are the only one that a layer reads or gives: they cannot go, and lie along no axis."""
    for step in connectivity.steps:
        if isinstance(step, Connection):
            yield from (side for side in (step.inputs, step.outputs) if side.numel() == 1)


def _places(connectivity: Connectivity) -> Iterator[tuple[str | None, Tensor, list[Axis] | None]]:
    """Every use of a tensor: its name, the units that meet it, and the axes that they lie along, or None."""
    for step in connectivity.steps:
        if isinstance(step, Connection):
            name = None if step.weight is None else step.weight.name
            yield name, torch.cat([step.inputs, step.outputs]), _of_connection(step)
        elif step.scale is not None and step.entries is not None:
            units = torch.cat([step.sources, step.targets])
            yield step.scale.name, units, _of_vector(step.scale, step.entries, step.targets)
    for attachment in connectivity.attachments:
        axes = _of_vector(attachment.values, attachment.entries, attachment.units)
        yield attachment.values.name, attachment.units, axes


def _of_connection(step: Connection) -> list[Axis] | None:
    view = step.weight
    if view is None or step.groups > 1 or not _is_whole(view):
        return None
    axes = []
    for place, units in ((1, step.outputs), (2, step.inputs)):
        if view.shape[place] > 1:
            dimension = _dimension(view, place)
            axes.append(Axis(view.name, dimension, view.shape[place], torch.arange(units.numel()), units))
    return axes


def _of_vector(view: View, entries: Tensor, units: Tensor) -> list[Axis] | None:
    long = [place for place, size in enumerate(view.shape) if size > 1]
    if not _is_whole(view) or len(long) > 1:
        return None
    return [Axis(view.name, _dimension(view, p), view.shape[p], entries, units) for p in long]


def _is_whole(view: View) -> bool:
    """Whether the view has every entry of its tensor, each once, dimension by dimension."""
    sizes = sorted((stride, size) for stride, size in zip(view.stride, view.shape, strict=True) if size > 1)
    base = sorted((s, n) for s, n in zip(view.base_stride, view.base_shape, strict=True) if n > 1)
    return view.offset == 0 and sizes == base


def _dimension(view: View, place: int) -> int:
    """The dimension of the tensor that lies along dimension `place` of its whole view."""
    pairs = list(zip(view.base_shape, view.base_stride, strict=True))
    return pairs.index((view.shape[place], view.stride[place]))
