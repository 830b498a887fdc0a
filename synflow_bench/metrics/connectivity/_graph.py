"""The description of a network: units, and what connects them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch
from torch import Tensor

NOTHING = -1
"""Stands for a unit where a constant is: nothing feeds it, and it is no unit."""


@dataclass(frozen=True)
class View:
    """How an operation reads a parameter or a buffer: the whole tensor, transposed, sliced or reshaped.

    `shape`, `stride` and `offset` are those of the view, counted in entries; `base_shape` and `base_stride`
    those of the tensor `name`.
    """

    name: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    base_shape: tuple[int, ...]
    base_stride: tuple[int, ...]

    def of(self, tensor: Tensor) -> Tensor:
        """The same view of another tensor, one laid out by `laid_out` or `blank`; shares its memory."""
        return tensor.as_strided(self.shape, self.stride, self.offset)

    def laid_out(self, tensor: Tensor) -> Tensor:
        """`tensor`, of the shape `base_shape`, in the memory layout that `of` wants; a copy where it must."""
        if tensor.stride() == self.base_stride and tensor.storage_offset() == 0:
            return tensor
        return self.blank().copy_(tensor)

    def blank(self) -> Tensor:
        """False for every entry of the tensor `name`."""
        return torch.empty_strided(self.base_shape, self.base_stride, dtype=torch.bool).zero_()


@dataclass(frozen=True)
class Connection:
    """Weighted sums: a linear layer or a convolution, seen as one edge for every pair of units.

    `weight` is viewed as (G, O, I, ...): groups, outputs and inputs of each group, and kernel positions; an
    edge is there when any position is kept. None stands for weights that no mask can name. `inputs` (G * I,)
    are the units that feed it; after a flatten, one unit stands at several places. `outputs` (G * O,) are
    units of its own.
    """

    inputs: Tensor
    outputs: Tensor
    weight: View | None
    groups: int


@dataclass(frozen=True)
class Link:
    """Edges without a sum over channels: `sources[e]` feeds `targets[e]`, both (E,) int64.

    Of a residual sum, each channel has one edge from either side. With a `scale` edge e is there only while
    entry `entries[e]` of that view, counted in its logical order, is kept: a batch norm's scale, a residual
    scale.
    """

    sources: Tensor
    targets: Tensor
    scale: View | None = None
    entries: Tensor | None = None


@dataclass(frozen=True)
class Attachment:
    """Entries that belong to units and connect none: biases, a batch norm's shifts and running statistics.

    Entry `entries[e]` of `values` belongs to `units[e]`, both (E,) int64.
    """

    values: View
    units: Tensor
    entries: Tensor


@dataclass(frozen=True)
class Connectivity:
    """Which units of a network feed which, for one shape of input.

    A unit is a channel of an activation, or a feature where there are no channels. `inputs` and `outputs` are
    the units of the network's input and output; `steps` stand in the order of computation. `opaque` names
    the parameters that something uses in a way not described here: what depends on their masks is not known.

    For those who remove channels: `coupled` (units,) gives units one number that must stay or go together,
    because a sum, a norm over several channels or a group of a convolution binds them; such a group may go
    when `Reach.read` has none of it, which leaves the output as it is. `fixed` (units,) marks those that
    cannot be taken out by slicing parameters and buffers alone: inputs, outputs, and what is cut, split or
    met by a constant of a size of its own. `mixed` (units,) marks those that share a softmax, or a norm's
    statistics, with others: each can change all of its group, though no path of weights says so.
    """

    inputs: Tensor
    outputs: Tensor
    steps: tuple[Connection | Link, ...]
    attachments: tuple[Attachment, ...]
    coupled: Tensor
    fixed: Tensor
    mixed: Tensor
    opaque: frozenset[str]

    @property
    def units(self) -> int:
        """The number of units."""
        return self.coupled.numel()

    @cached_property
    def names(self) -> frozenset[str]:
        """The parameters and buffers that the network uses."""
        views = [step.weight if isinstance(step, Connection) else step.scale for step in self.steps]
        attached = [attachment.values for attachment in self.attachments]
        return self.opaque | {view.name for view in [*views, *attached] if view is not None}


@dataclass(frozen=True)
class NotFollowed:
    """A network whose connectivity is not known, and `reason`, one line."""

    reason: str


def entries_of(view: View) -> Tensor:
    """The entries of `view`, numbered in its logical order, in its shape."""
    return torch.arange(prod(view.shape)).view(view.shape)
