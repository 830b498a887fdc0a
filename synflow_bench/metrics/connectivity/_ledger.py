"""The book of units: who makes new ones, and out of which.

Ids of units stand in tensors of as many dimensions as the activation that they describe, where a dimension
along which the units are the same has size 1. A channel of an image so has the ids (1, C, 1, 1).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from synflow_bench.metrics.connectivity._graph import (
    NOTHING,
    Attachment,
    Connection,
    Connectivity,
    Link,
    View,
    entries_of,
)


class Ledger:
    """Units, steps and attachments, as they are found."""

    def __init__(self) -> None:
        self.count = 0
        self.opaque: set[str] = set()
        self._steps: list[Connection | Link] = []
        self._attachments: list[Attachment] = []
        self._bound: list[tuple[Tensor, Tensor]] = []
        self._fixed: list[Tensor] = []
        self._mixed: list[Tensor] = []

    def fresh(self, count: int) -> Tensor:
        """`count` new units, (count,) int64."""
        self.count += count
        return torch.arange(self.count - count, self.count)

    def fix(self, ids: Tensor) -> None:
        """These cannot be sliced away."""
        self._fixed.append(real(ids))

    def bind(self, first: Tensor, second: Tensor) -> None:
        """`first[i]` and `second[i]` stay or go together; one of them may be a single unit."""
        both = torch.stack(_broadcast(first.flatten(), second.flatten()))
        first, second = both[:, (both != NOTHING).all(0)]
        self._bound.append((first, second))

    def mix(self, ids: Tensor) -> None:
        """These share a sum or statistics, so that each can change all."""
        members = real(ids)
        self.bind(members, members[-1:])
        if members.numel() > 1:
            self._mixed.append(members)

    def join(self, first: Tensor, second: Tensor) -> Tensor:
        """Units that two activations feed element by element; where one is a constant, those of the other."""
        one, two = _broadcast(first, second)
        joined = torch.where(one == NOTHING, two, one)
        self.fix(joined[((one == NOTHING) | (two == NOTHING)) & (joined != NOTHING)])
        meet = (one != two) & (one != NOTHING) & (two != NOTHING)
        sources, where = _pairs(one[meet], two[meet])
        targets = self.fresh(sources[0].numel())
        self.link(torch.cat(sources), targets.repeat(2))
        return joined.masked_scatter(meet, targets[where])

    def merge(self, ids: Tensor, dimensions: Iterable[int]) -> Tensor:
        """One unit in place of all along `dimensions`, which all of them feed."""
        over = sorted(d % ids.ndim for d in dimensions)
        shape = [1 if d in over else size for d, size in enumerate(ids.shape)]
        rest = [d for d in range(ids.ndim) if d not in over]
        rows = ids.permute(*rest, *over).reshape(torch.Size(shape).numel(), -1)
        if rows.shape[1] == 1:
            return ids
        different, where = torch.unique(rows, dim=0, return_inverse=True)
        return self._one_each(different)[where].view(shape)

    def scale(self, ids: Tensor, scale: View) -> Tensor:
        """Units that `ids` feed as long as the entry of `scale` beside them is kept."""
        units, entries, where = self._beside(ids, scale)
        targets = self.fresh(units.numel())
        self.link(units, targets, scale, entries)
        wide = _broadcast(ids, entries_of(scale))[0]
        return wide.masked_scatter(wide != NOTHING, targets[where])

    def attach(self, ids: Tensor, values: View) -> None:
        """The entries of `values` belong to the units beside them."""
        units, entries, _ = self._beside(ids, values)
        self._attachments.append(Attachment(values, units, entries))

    def link(
        self, sources: Tensor, targets: Tensor, scale: View | None = None, entries: Tensor | None = None
    ) -> None:
        """Every source feeds its target, channel by channel."""
        if sources.numel():
            self._steps.append(Link(sources, targets, scale, entries))
            self.bind(sources, targets)

    def connect(self, inputs: Tensor, outputs: int, weight: View | None, groups: int) -> Tensor:
        """New units, (outputs,), that are weighted sums of `inputs`, group by group."""
        targets = self.fresh(outputs)
        self._steps.append(Connection(inputs, targets, weight, groups))
        if groups > 1:
            for sources, sums in zip(inputs.chunk(groups), targets.chunk(groups), strict=True):
                members = torch.cat([sources, sums])
                self.bind(members, members[-1:])
        return targets

    def close(self, inputs: Tensor, outputs: Tensor) -> Connectivity:
        """The description of all that was found."""
        return Connectivity(
            inputs=real(inputs),
            outputs=real(outputs),
            steps=tuple(self._steps),
            attachments=tuple(self._attachments),
            coupled=_components(self.count, self._bound),
            fixed=self._marked([*self._fixed, real(inputs), real(outputs)]),
            mixed=self._marked(self._mixed),
            opaque=frozenset(self.opaque),
        )

    def _marked(self, several: Iterable[Tensor]) -> Tensor:
        marked = torch.zeros(self.count, dtype=torch.bool)
        for ids in several:
            marked[ids] = True
        return marked

    def _one_each(self, rows: Tensor) -> Tensor:
        """For each row its only unit, or a new one that all of the row feed."""
        ordered = rows.sort(dim=1).values
        again = torch.zeros_like(ordered, dtype=torch.bool)
        again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
        members = ~again & (ordered != NOTHING)
        several = members.sum(1) > 1
        units = rows.amax(1)
        units[several] = self.fresh(int(several.sum()))
        members &= several[:, None]
        self.link(ordered[members], units[:, None].expand_as(rows)[members])
        return units

    def _beside(self, ids: Tensor, view: View) -> tuple[Tensor, Tensor, Tensor]:
        """The pairs of a unit and an entry that meet, once each, and which pair each meeting is."""
        numbers = entries_of(view)
        units, entries = _broadcast(ids, numbers)
        there = units != NOTHING
        if entries.numel() == numbers.numel() and bool(there.all()):
            # Every entry meets one unit: there is nothing to sort out.
            return units.flatten(), entries.flatten(), torch.arange(entries.numel())
        (met, beside), where = _pairs(units[there], entries[there])
        return met, beside, where


def real(ids: Tensor) -> Tensor:
    """The units among `ids`, each once, in order."""
    units: Tensor = torch.unique(ids[ids != NOTHING])
    return units


def compact(ids: Tensor) -> Tensor:
    """`ids` with size 1 wherever they are the same along a dimension."""
    for d in range(ids.ndim):
        first = ids.narrow(d, 0, 1) if ids.shape[d] else ids
        if ids.shape[d] > 1 and (ids.stride(d) == 0 or bool((ids == first).all())):
            ids = first
    return ids


def varying(ids: Tensor) -> Sequence[int]:
    """The dimensions along which units differ."""
    return [d for d, size in enumerate(ids.shape) if size > 1]


def _broadcast(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    # Not `broadcast_shapes`, which loads sympy.
    one, two = torch.broadcast_tensors(first, second)  # type: ignore[no-untyped-call]
    return one, two


def _pairs(first: Tensor, second: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """The different pairs, (P,) each, and which of them each pair is."""
    span = int(second.max()) + 1 if second.numel() else 1
    codes, where = torch.unique(first * span + second, return_inverse=True)
    return (codes // span, codes % span), where


def _components(count: int, bound: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """The connected components of the bonds: every unit has the number of the first in its component."""
    label = torch.arange(count)
    bonds = torch.cat([torch.stack(bond) for bond in bound], dim=1) if bound else torch.empty(2, 0).long()
    while True:
        # Both ends take the smaller label, then every label the label of its own: depths halve each time.
        least = torch.minimum(label[bonds[0]], label[bonds[1]])
        best = label.scatter_reduce(0, label[bonds].flatten(), least.repeat(2), "amin")
        best = best.scatter_reduce(0, bonds.flatten(), least.repeat(2), "amin")
        best = best[best]
        if torch.equal(best, label):
            return label
        label = best
