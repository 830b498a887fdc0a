"""Where units lie in parameters and buffers: along which axis, at which entry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from synflow_bench.metrics.connectivity import NOTHING, Connection, Connectivity, View


@dataclass(frozen=True)
class Axis:
    """One use of dimension `dimension` of tensor `name`: entry `entries[i]` along it is of unit `units[i]`.

    Both are (P,) int64; a unit of `NOTHING` is a constant's place.
    """

    name: str
    dimension: int
    entries: Tensor
    units: Tensor


@dataclass(frozen=True)
class Axes:
    """All uses of all tensors, and the units that no slicing of tensors can take out."""

    uses: tuple[Axis, ...]
    unsliceable: Tensor

    @classmethod
    def of(cls, connectivity: Connectivity) -> Axes:
        """Find them; what is read in another way than whole, or in groups, cannot be sliced."""
        uses: list[Axis] = []
        stuck = torch.zeros(connectivity.units + 1, dtype=torch.bool)
        for units, found in _places(connectivity):
            if found is None:
                stuck[units] = True
            else:
                uses.extend(found)
        return cls(tuple(uses), stuck[:-1])


def _places(connectivity: Connectivity) -> Iterator[tuple[Tensor, list[Axis] | None]]:
    """For every step and attachment its units and the axes that they lie along; None where they do not."""
    for step in connectivity.steps:
        if isinstance(step, Connection):
            yield torch.cat([step.inputs, step.outputs]), _of_connection(step)
        elif step.scale is not None and step.entries is not None:
            yield torch.cat([step.sources, step.targets]), _of_vector(step.scale, step.entries, step.targets)
    for attachment in connectivity.attachments:
        yield attachment.units, _of_vector(attachment.values, attachment.entries, attachment.units)


def _of_connection(step: Connection) -> list[Axis] | None:
    view = step.weight
    if view is None or step.groups > 1 or not _is_whole(view):
        return None
    axes = []
    for place, units in ((1, step.outputs), (2, step.inputs)):
        if view.shape[place] == 1:
            continue
        dimension = _dimension(view, place)
        if dimension is None:
            return None
        axes.append(Axis(view.name, dimension, torch.arange(units.numel()), units))
    return axes


def _of_vector(view: View, entries: Tensor, units: Tensor) -> list[Axis] | None:
    if not _is_whole(view):
        return None
    long = [place for place, size in enumerate(view.shape) if size > 1]
    if not long:
        return []
    dimension = _dimension(view, long[0]) if len(long) == 1 else None
    return None if dimension is None else [Axis(view.name, dimension, entries, units)]


def _is_whole(view: View) -> bool:
    """Whether the view has every entry of its tensor, each once."""
    sizes = sorted((stride, size) for stride, size in zip(view.stride, view.shape, strict=True) if size > 1)
    base = sorted((s, n) for s, n in zip(view.base_stride, view.base_shape, strict=True) if n > 1)
    return view.offset == 0 and sizes == base


def _dimension(view: View, place: int) -> int | None:
    """The dimension of the tensor that lies along dimension `place` of its view."""
    wanted = view.shape[place], view.stride[place]
    pairs = list(zip(view.base_shape, view.base_stride, strict=True))
    return pairs.index(wanted) if wanted in pairs else None


def stays(axis: Axis, kept: Tensor) -> Tensor:
    """Which pairs of `axis` stay when `kept` (units,) do; those of constants do."""
    return torch.cat([kept, kept.new_ones(1)])[axis.units] if NOTHING in axis.units else kept[axis.units]
