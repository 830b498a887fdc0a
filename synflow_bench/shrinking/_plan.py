"""Which units stay, and so which entries of every tensor."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from synflow_bench.metrics.connectivity import Connectivity, reach
from synflow_bench.shrinking._axes import Axes, Axis, stays

Slices = Mapping[str, Mapping[int, Tensor]]
"""By tensor and dimension, the entries that stay, in order, (n,) int64; what is not named stays whole."""


def plan(connectivity: Connectivity, masks: Mapping[str, Tensor]) -> Slices:
    """Keep what the output reads through kept weights, and what must stay with it.

    What goes is read by nothing that the output depends on, so that the output is the same function of all
    that stays.
    """
    axes = Axes.of(connectivity)
    by_entry = _grouped(axes)
    kept = _read(connectivity, masks) | connectivity.fixed | axes.unsliceable
    while True:
        before = int(kept.count_nonzero())
        _complete(kept, connectivity.coupled)
        for uses in by_entry.values():
            _agree(uses, kept)
        if int(kept.count_nonzero()) == before:
            break
    slices: dict[str, dict[int, Tensor]] = defaultdict(dict)
    for (name, dimension), uses in by_entry.items():
        entries = _entries(uses, kept)
        if not bool(entries.all()):
            slices[name][dimension] = entries.nonzero().squeeze(1)
    return slices


def _read(connectivity: Connectivity, masks: Mapping[str, Tensor]) -> Tensor:
    """What the output depends on; shared statistics are taken to depend on all that share them."""
    ends = torch.cat([connectivity.outputs, connectivity.mixed.nonzero().squeeze(1)])
    return reach(replace(connectivity, outputs=ends), masks).read


def _grouped(axes: Axes) -> dict[tuple[str, int], list[Axis]]:
    grouped: dict[tuple[str, int], list[Axis]] = defaultdict(list)
    for axis in axes.uses:
        grouped[axis.name, axis.dimension].append(axis)
    return grouped


def _complete(kept: Tensor, coupled: Tensor) -> None:
    """Keep all of a coupled group of which anything is kept."""
    groups = torch.zeros_like(kept)
    groups[coupled[kept]] = True
    kept |= groups[coupled]


def _agree(uses: list[Axis], kept: Tensor) -> None:
    """Keep all units that share an entry with a kept one, and at least one entry: no layer may vanish."""
    entries = _entries(uses, kept)
    if not bool(entries.any()):
        entries[0] = True
    for axis in uses:
        units = axis.units[entries[axis.entries]]
        kept[units[units >= 0]] = True


def _entries(uses: list[Axis], kept: Tensor) -> Tensor:
    """The entries along an axis that stay, (size,) bool: those of which some use does, or that none names."""
    entries = torch.ones(uses[0].size, dtype=torch.bool)
    for axis in uses:
        entries[axis.entries] = False
    for axis in uses:
        entries[axis.entries[stays(axis, kept)]] = True
    return entries
