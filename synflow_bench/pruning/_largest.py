"""The k largest of many numbers that lie in several rows: exact, and in few passes over the memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]

SAMPLE = 1 << 16
"""The most entries that are drawn to bracket the threshold; of few entries, a sixteenth is."""

FEW = 1 << 14
"""Up to how many entries a partition of them all is as fast."""


def keep_largest(rows: Sequence[Tensor], eligible: Sequence[Tensor], k: int) -> tuple[list[Tensor], float]:
    """Bool rows, exactly `k` True in all, at the largest eligible entries, and the smallest of those entries.

    Equal entries go by row and index, lower first. `eligible` are bool rows; at least `k` entries must be.
    Removed weights mostly score least anyway, so they are ruled out only where a first look has kept one.
    """
    if rows[0].is_cuda:
        return _keep_largest_on_device(rows, eligible, k)
    arrays = [row.cpu().numpy() for row in rows]
    allowed = [mask.cpu().numpy() for mask in eligible]
    kept, threshold = keep_largest_in_memory(arrays, k, allowed)
    if any(np.greater(keep, mask).any() for keep, mask in zip(kept, allowed, strict=True)):
        arrays = [np.where(mask, array, -np.inf) for array, mask in zip(arrays, allowed, strict=True)]
        kept, threshold = keep_largest_in_memory(arrays, k)
    return [torch.from_numpy(keep).to(rows[0].device) for keep in kept], threshold


def keep_largest_in_memory(
    rows: Sequence[Floats], k: int, likely: Sequence[Bools] | None = None
) -> tuple[list[Bools], float]:
    """`keep_largest` of all entries of `rows` (n_i,).

    A random sample brackets the k-th largest entry between `low` and `high`; only what lies between is
    gathered and partitioned. Where the bracket misses, everything is. The sample is of `likely` entries
    alone, if given: removed weights tie at zero, and a bracket that ends there would gather them all.
    """
    size = sum(len(row) for row in rows)
    if k <= 0:
        return [np.zeros(len(row), dtype=np.bool_) for row in rows], float("inf")
    if size > min(FEW, 4 * SAMPLE):
        low, high = _bracket(rows, k, likely)
        kept = [row >= low for row in rows]
        above = [row > high for row in rows]
        surplus = sum(int(np.count_nonzero(keep)) for keep in kept) - k
        between = [np.flatnonzero(keep ^ more) for keep, more in zip(kept, above, strict=True)]
        inside = np.concatenate([row[places] for row, places in zip(rows, between, strict=True)])
    else:
        kept = [np.ones(len(row), dtype=np.bool_) for row in rows]
        between = [np.arange(len(row)) for row in rows]
        inside, surplus = np.concatenate(rows), size - k
    if not 0 <= surplus < len(inside):
        row = np.concatenate(rows)
        joint, threshold = _drop_smallest(row, size - k)
        return np.split(~joint, np.cumsum([len(row) for row in rows])[:-1]), threshold
    dropped, threshold = _drop_smallest(inside, surplus)
    start = 0
    for keep, places in zip(kept, between, strict=True):
        keep[places[dropped[start : start + len(places)]]] = False
        start += len(places)
    return kept, threshold


def _bracket(rows: Sequence[Floats], k: int, likely: Sequence[Bools] | None) -> tuple[float, float]:
    """Two entries between which the k-th largest very probably lies."""
    draw = np.random.default_rng(0)
    size = sum(len(row) for row in rows)
    wanted = min(SAMPLE, size // 16)
    drawn = [draw.integers(len(row), size=1 + wanted * len(row) // size) for row in rows]
    if likely is not None:
        drawn = [places[mask[places]] for places, mask in zip(drawn, likely, strict=True)]
        size = sum(int(np.count_nonzero(mask)) for mask in likely)
    sample = np.sort(np.concatenate([row[places] for row, places in zip(rows, drawn, strict=True)]))
    if not len(sample):
        return -np.inf, np.inf
    middle, slack = (1 - k / size) * len(sample), 4 * len(sample) ** 0.5
    return sample[max(0, int(middle - slack))], sample[min(len(sample) - 1, int(middle + slack))]


def _drop_smallest(row: Floats, count: int) -> tuple[Bools, float]:
    """Which `count` entries of `row` (n,) are smallest, higher index first among equals; and the next one."""
    threshold = np.partition(row, count)[count]
    dropped: Bools = row < threshold
    ties = np.flatnonzero(row == threshold)
    dropped[ties[len(ties) - (count - int(np.count_nonzero(dropped))) :]] = True
    return dropped, float(threshold)


def _keep_largest_on_device(
    rows: Sequence[Tensor], eligible: Sequence[Tensor], k: int
) -> tuple[list[Tensor], float]:
    """The same with torch alone, for devices whose memory numpy does not see."""
    sizes = [len(row) for row in rows]
    if k <= 0:
        return [torch.zeros_like(mask) for mask in eligible], float("inf")
    flat = torch.cat(list(rows)).masked_fill_(~torch.cat(list(eligible)), -torch.inf)
    threshold = flat.kthvalue(len(flat) - k + 1).values
    keep = flat > threshold
    ties = (flat == threshold).nonzero().squeeze(1)
    keep[ties[: k - int(keep.count_nonzero())]] = True
    return list(torch.split_with_sizes(keep, sizes)), float(threshold)
