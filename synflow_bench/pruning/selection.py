"""Selection: keep exactly k weights, those with the largest scores, with ties broken by index.

`select` makes masks from scores. `keep_largest` does its work for large rows of numbers, in few passes over
the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from synflow_bench.errors import UsageError
from synflow_bench.pruning.masks import Masks
from synflow_bench.suites import Scope


@dataclass(frozen=True)
class Selection:
    """The outcome of `select`.

    Attributes:
        masks: The weights to keep.
        threshold: The smallest score among them.
    """

    masks: Masks
    threshold: float


def select(scores: Mapping[str, Tensor], masks: Masks, density: float, scope: Scope) -> Selection:
    """Keep the weights with the largest scores among those that `masks` keeps.

    Args:
        scores: A score per weight, by the names of `masks`. Scores of several types are compared in the
            widest of them. Ties are broken by index, in channels-last order where scores are laid out so.
        masks: The weights that compete.
        density: The share of all weights to keep.
        scope: `global` ranks all layers together; `local` ranks each layer by itself and keeps `density` of
            it, rounded so that the total is the same.

    Returns:
        Masks of exactly round(density * N) weights, and the threshold.

    Raises:
        UsageError: The density leaves no weight.

    Example:
        >>> import torch
        >>> scores = {"a": torch.tensor([3.0, 1.0]), "b": torch.tensor([4.0, 2.0])}
        >>> select(scores, Masks.ones(scores), density=0.5, scope="global").masks.layer_kept
        mappingproxy({'a': 1, 'b': 1})
    """
    dtype = reduce(torch.promote_types, (score.dtype for score in scores.values()), torch.float32)
    orders = {name: order_of(scores[name]) for name in masks}
    rows = [flattened(scores[name], order).to(dtype) for name, order in orders.items()]
    eligible = [flattened(masks[name], order) for name, order in orders.items()]
    if scope == "global":
        kept, threshold = keep_largest(rows, eligible, kept_count(density, masks.size))
    else:
        sizes = {name: mask.numel() for name, mask in masks.items()}
        shares = apportion(sizes, density, masks.layer_kept).values()
        chosen = [keep_largest([row], [mask], k) for row, mask, k in zip(rows, eligible, shares, strict=True)]
        kept, threshold = [each[0] for each, _ in chosen], min(smallest for _, smallest in chosen)
    pairs = zip(masks.items(), kept, strict=True)
    return Selection(
        Masks({name: _unflattened(row, mask.shape, orders[name]) for (name, mask), row in pairs}), threshold
    )


def kept_count(density: float, size: int) -> int:
    """Return the number of `size` weights to keep at `density`: round(density * size).

    Raises:
        UsageError: That is 0.

    Example:
        >>> kept_count(0.01, 1499)
        15
    """
    kept = round(density * size)
    if kept < 1:
        compression = f"{1 / density:g}" if density > 0 else "inf"
        raise UsageError(
            f"compression {compression} leaves none of {size} weights; the largest possible is {size}"
        )
    return min(kept, size)


def apportion(
    sizes: Mapping[str, int], density: float, at_most: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Share round(density * sum of sizes) among layers in proportion to their sizes.

    Args:
        sizes: The number of weights per layer.
        density: The share of all weights to keep.
        at_most: The largest number that each layer can keep, by default its size. Rounding alone could give a
            layer more at a lower density than it had at a higher one.

    Returns:
        density * size per layer, rounded by `round_shares`.

    Raises:
        UsageError: The density leaves no weight.

    Example:
        >>> apportion({"a": 6, "b": 6, "c": 2}, 10 / 14)
        {'a': 4, 'b': 4, 'c': 2}
    """
    shares = {name: density * size for name, size in sizes.items()}
    return round_shares(
        shares, kept_count(density, sum(sizes.values())), sizes if at_most is None else at_most
    )


def round_shares(shares: Mapping[str, float], total: int, most: Mapping[str, int]) -> dict[str, int]:
    """Round shares to integers that sum to `total`: down, and up where the remainders are largest.

    Args:
        shares: Numbers that sum to `total`, except for rounding errors.
        total: The sum of the result.
        most: The largest integer per share. Among equal remainders, the first is rounded up.

    Example:
        >>> round_shares({"a": 1.5, "b": 2.75, "c": 0.75}, 5, {"a": 9, "b": 9, "c": 0})
        {'a': 2, 'b': 3, 'c': 0}
    """
    kept = {name: min(int(share), most[name]) for name, share in shares.items()}
    for _ in range(total - sum(kept.values())):
        open_layers = [name for name in kept if kept[name] < most[name]]
        kept[max(open_layers, key=lambda name: shares[name] - kept[name])] += 1
    return kept


Order = tuple[int, ...]

CHANNELS_LAST = (0, 2, 3, 1)


def order_of(tensor: Tensor) -> Order:
    """Return the dimensions from the slowest in memory to the fastest: channels last, or as they are.

    Reading entries in another order is many times slower.
    """
    if (
        tensor.dim() == 4
        and not tensor.is_contiguous()
        and tensor.is_contiguous(memory_format=torch.channels_last)
    ):
        return CHANNELS_LAST
    return tuple(range(tensor.dim()))


def flattened(tensor: Tensor, order: Order) -> Tensor:
    """Return the entries in this order, (n,): a view where memory has the same order."""
    return tensor.detach().permute(order).reshape(-1)


def _unflattened(row: Tensor, shape: torch.Size, order: Order) -> Tensor:
    """Return the inverse of `flattened`: a view of `row` of `shape`."""
    laid_out = row.view([shape[dimension] for dimension in order])
    return laid_out.permute([order.index(dimension) for dimension in range(len(order))])


Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]
Places = np.ndarray[Any, np.dtype[np.intp]]

SAMPLE = 1 << 16
"""The most entries in the sample that brackets the threshold; of fewer entries, a sixty-fourth is drawn."""

PIECE = 1 << 18
"""Entries that stay in a core's cache while they are compared twice, and enough for threads not to wait."""

FEW = 1 << 14
"""The number of entries up to which partitioning all of them is as fast."""


def keep_largest(rows: Sequence[Tensor], eligible: Sequence[Tensor], k: int) -> tuple[list[Tensor], float]:
    """Keep the `k` largest eligible entries of several rows.

    A random sample brackets the k-th largest entry between two others; only what lies between is gathered and
    partitioned. If the bracket misses, everything eligible is.

    Args:
        rows: Numbers (n_i,) of one type, without NaN.
        eligible: Bool rows (n_i,) with at least `k` entries True.
        k: The number of entries to keep.

    Returns:
        Bool rows with exactly `k` entries True, and the smallest entry kept (infinity if `k` is 0). Among
        equal entries the first stay, by row and index.
    """
    if rows[0].is_cuda:
        return keep_largest_on_device(rows, eligible, k)
    arrays: list[Floats] = [row.cpu().numpy() for row in rows]
    allowed: list[Bools] = [mask.cpu().numpy() for mask in eligible]
    if k <= 0:
        return [torch.zeros_like(mask) for mask in eligible], float("inf")
    found = None
    if sum(len(row) for row in arrays) > min(FEW, 4 * SAMPLE):
        found = _keep_between(arrays, allowed, k, *bracket(arrays, allowed, k))
    kept, threshold = found or _keep_all_but(arrays, allowed, k)
    return [torch.from_numpy(keep).to(rows[0].device) for keep in kept], threshold


def bracket(rows: Sequence[Floats], eligible: Sequence[Bools], k: int) -> tuple[float, float]:
    """Return two entries between which the k-th largest eligible one very probably lies."""
    draw = np.random.default_rng(0)
    size = sum(len(row) for row in rows)
    wanted = min(SAMPLE, size // 64)
    drawn = [draw.integers(len(row), size=1 + wanted * len(row) // size) for row in rows]
    sampled = [row[places[mask[places]]] for row, places, mask in zip(rows, drawn, eligible, strict=True)]
    sample = np.sort(np.concatenate(sampled))
    if not len(sample):
        return -np.inf, np.inf
    share = k / sum(int(np.count_nonzero(mask)) for mask in eligible)
    # Five standard deviations of the number of sampled entries below the threshold, and some for few.
    middle, slack = (1 - share) * len(sample), 5 * (len(sample) * share * (1 - share)) ** 0.5 + 5
    return sample[max(0, int(middle - slack))], sample[min(len(sample) - 1, int(middle + slack))]


def _keep_between(
    rows: Sequence[Floats], eligible: Sequence[Bools], k: int, low: float, high: float
) -> tuple[list[Bools], float] | None:
    """Keep all above `high`, and the largest of the rest down to `low`; None where that cannot give `k`."""
    kept = [np.empty(len(row), dtype=np.bool_) for row in rows]
    pieces = [
        (row[start : start + PIECE], mask[start : start + PIECE], keep[start : start + PIECE])
        for row, mask, keep in zip(rows, eligible, kept, strict=True)
        for start in range(0, len(row), PIECE)
    ]

    def keep_down_to_low(piece: tuple[Floats, Bools, Bools]) -> tuple[int, Places]:
        """Keep what is at least `low`; return the number kept, and the places of those up to `high`."""
        row, mask, keep = piece
        np.greater_equal(row, low, out=keep)
        keep &= mask
        return int(np.count_nonzero(keep)), np.flatnonzero(keep & (row <= high))

    counts, between = zip(*_on_threads(keep_down_to_low, pieces), strict=True)
    surplus = sum(counts) - k
    if not 0 <= surplus < sum(len(places) for places in between):
        return None
    return kept, _drop_smallest(
        [row for row, _, _ in pieces], [keep for *_, keep in pieces], between, surplus
    )


def _keep_all_but(rows: Sequence[Floats], eligible: Sequence[Bools], k: int) -> tuple[list[Bools], float]:
    kept = [mask.copy() for mask in eligible]
    places = [np.flatnonzero(mask) for mask in kept]
    return kept, _drop_smallest(rows, kept, places, sum(len(place) for place in places) - k)


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


def keep_largest_on_device(
    rows: Sequence[Tensor], eligible: Sequence[Tensor], k: int
) -> tuple[list[Tensor], float]:
    """Do the same with torch alone, for devices whose memory numpy cannot read."""
    sizes = [len(row) for row in rows]
    if k <= 0:
        return [torch.zeros_like(mask) for mask in eligible], float("inf")
    flat = torch.cat(list(rows)).masked_fill_(~torch.cat(list(eligible)), -torch.inf)
    # A whole GPU computes `topk`, one of its hundred multiprocessors `kthvalue`.
    threshold = flat.topk(k, sorted=False).values.min()
    keep = flat > threshold
    ties = (flat == threshold).nonzero().squeeze(1)
    keep[ties[: k - int(keep.count_nonzero())]] = True
    return list(torch.split_with_sizes(keep, sizes)), float(threshold)


T = TypeVar("T")
R = TypeVar("R")


def _on_threads(task: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Return `task` of every item, on as many threads as torch may use: numpy computes without the lock."""
    threads = torch.get_num_threads()
    if threads == 1:
        return [task(item) for item in items]
    with ThreadPoolExecutor(threads - 1) as pool:
        others = pool.map(lambda first: [task(item) for item in items[first::threads]], range(1, threads))
        shares = [[task(item) for item in items[::threads]], *others]
    return [shares[place % threads][place // threads] for place in range(len(items))]
