"""The k largest of many numbers that lie in several rows: exact, and in few passes over the memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from synflow_bench.pruning._threads import on_threads

Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]
Places = np.ndarray[Any, np.dtype[np.intp]]
Piece = tuple[Floats, Bools, Bools]
"""A stretch of a row, of what is eligible in it, and of what is kept of it; views."""

SAMPLE = 1 << 16
"""The most entries that are drawn to bracket the threshold; of few entries, a sixteenth is."""

PIECE = 1 << 18
"""Entries that stay in a core's cache while they are compared twice, and enough for threads not to queue."""

FEW = 1 << 14
"""Up to how many entries a partition of them all is as fast."""


def keep_largest(rows: Sequence[Tensor], eligible: Sequence[Tensor], k: int) -> tuple[list[Tensor], float]:
    """Bool rows, exactly `k` True in all, at the largest eligible entries, and the smallest of those entries.

    Equal entries go by row and index, lower first. `eligible` are bool rows; at least `k` entries must be.
    """
    if rows[0].is_cuda:
        return _keep_largest_on_device(rows, eligible, k)
    arrays = [row.cpu().numpy() for row in rows]
    allowed = [mask.cpu().numpy() for mask in eligible]
    kept, threshold = keep_largest_in_memory(arrays, allowed, k)
    return [torch.from_numpy(keep).to(rows[0].device) for keep in kept], threshold


def keep_largest_in_memory(
    rows: Sequence[Floats], eligible: Sequence[Bools], k: int
) -> tuple[list[Bools], float]:
    """`keep_largest` of `rows` (n_i,).

    A random sample brackets the k-th largest entry between two others; only what lies between is gathered and
    partitioned. Where the bracket misses, everything eligible is.
    """
    if k <= 0:
        return [np.zeros(len(row), dtype=np.bool_) for row in rows], float("inf")
    found = None
    if sum(len(row) for row in rows) > min(FEW, 4 * SAMPLE):
        found = _keep_between(rows, eligible, k, *_bracket(rows, eligible, k))
    return found or _keep_all_but(rows, eligible, k)


def _keep_between(
    rows: Sequence[Floats], eligible: Sequence[Bools], k: int, low: float, high: float
) -> tuple[list[Bools], float] | None:
    """What is above `high`, and the largest of the rest down to `low`; None where that is not enough."""
    kept = [np.empty(len(row), dtype=np.bool_) for row in rows]
    pieces = [piece for parts in zip(rows, eligible, kept, strict=True) for piece in _cut(*parts)]
    counts, between = zip(*on_threads(lambda piece: _keep_down_to(piece, low, high), pieces), strict=True)
    surplus = sum(counts) - k
    if not 0 <= surplus < sum(len(places) for places in between):
        return None
    return kept, _drop_smallest(
        [row for row, _, _ in pieces], [keep for _, _, keep in pieces], between, surplus
    )


def _cut(row: Floats, mask: Bools, keep: Bools) -> Iterator[Piece]:
    for start in range(0, len(row), PIECE):
        part = slice(start, start + PIECE)
        yield row[part], mask[part], keep[part]


def _keep_down_to(piece: Piece, low: float, high: float) -> tuple[int, Places]:
    """Set what is kept of a piece if `low` is the threshold; return how many, and the places up to `high`."""
    row, mask, keep = piece
    np.greater_equal(row, low, out=keep)
    keep &= mask
    return int(np.count_nonzero(keep)), np.flatnonzero(keep & (row <= high))


def _keep_all_but(rows: Sequence[Floats], eligible: Sequence[Bools], k: int) -> tuple[list[Bools], float]:
    kept = [mask.copy() for mask in eligible]
    places = [np.flatnonzero(mask) for mask in kept]
    return kept, _drop_smallest(rows, kept, places, sum(len(place) for place in places) - k)


def _bracket(rows: Sequence[Floats], eligible: Sequence[Bools], k: int) -> tuple[float, float]:
    """Two entries between which the k-th largest eligible one very probably lies."""
    draw = np.random.default_rng(0)
    size = sum(len(row) for row in rows)
    wanted = min(SAMPLE, size // 16)
    drawn = [draw.integers(len(row), size=1 + wanted * len(row) // size) for row in rows]
    sampled = [row[places[mask[places]]] for row, places, mask in zip(rows, drawn, eligible, strict=True)]
    sample = np.sort(np.concatenate(sampled))
    if not len(sample):
        return -np.inf, np.inf
    share = k / sum(int(np.count_nonzero(mask)) for mask in eligible)
    # Five standard deviations of how many of the sample lie below the threshold, and some for few.
    middle, slack = (1 - share) * len(sample), 5 * (len(sample) * share * (1 - share)) ** 0.5 + 5
    return sample[max(0, int(middle - slack))], sample[min(len(sample) - 1, int(middle + slack))]


def _drop_smallest(
    rows: Sequence[Floats], kept: Sequence[Bools], places: Sequence[Places], count: int
) -> float:
    """Clear in `kept` the `count` smallest of the entries at `places`; return the smallest that stays.

    Among equal entries the last ones go.
    """
    values = np.concatenate([row[place] for row, place in zip(rows, places, strict=True)])
    threshold = np.partition(values, count)[count]
    dropped = values < threshold
    ties = np.flatnonzero(values == threshold)
    dropped[ties[len(ties) - (count - int(np.count_nonzero(dropped))) :]] = True
    start = 0
    for keep, place in zip(kept, places, strict=True):
        keep[place[dropped[start : start + len(place)]]] = False
        start += len(place)
    return float(threshold)


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
