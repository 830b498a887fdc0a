"""Exactly k: which weights have the largest scores, ties broken by index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from synflow_bench.errors import UsageError
from synflow_bench.pruning._largest import keep_largest
from synflow_bench.pruning._layout import Order, flattened, order_of, unflattened
from synflow_bench.pruning._masks import Masks
from synflow_bench.suites import Scope


@dataclass(frozen=True)
class Selection:
    """The weights that stay, and the smallest score among them."""

    masks: Masks
    threshold: float


def count(density: float, size: int) -> int:
    """How many of `size` weights stay at `density`: round(density * size), at least one."""
    kept = round(density * size)
    if kept < 1:
        compression = f"{1 / density:g}" if density > 0 else "inf"
        raise UsageError(
            f"compression {compression} leaves none of {size} weights; the largest possible is {size}"
        )
    return min(kept, size)


def select(scores: Mapping[str, Tensor], masks: Masks, density: float, scope: Scope) -> Selection:
    """Keep the weights with the largest scores among those that `masks` keeps.

    `global` ranks all layers together and keeps round(density * N). `local` ranks each layer by itself and
    keeps density * n_l of it, rounded so that the total is round(density * N) too. Scores of several types
    are compared in the widest of them. Ties go by index, in channels-last order where scores are laid out so.
    """
    dtype = reduce(torch.promote_types, (score.dtype for score in scores.values()), torch.float32)
    orders = {name: order_of(scores[name]) for name in masks}
    rows = [flattened(scores[name], order).to(dtype) for name, order in orders.items()]
    eligible = [flattened(masks[name], order) for name, order in orders.items()]
    if scope == "global":
        kept, threshold = keep_largest(rows, eligible, count(density, masks.size))
        return Selection(_shaped(kept, masks, orders), threshold)
    shares = apportion(
        {name: mask.numel() for name, mask in masks.items()}, density, masks.layer_kept
    ).values()
    chosen = [keep_largest([row], [mask], k) for row, mask, k in zip(rows, eligible, shares, strict=True)]
    threshold = min(threshold for _, threshold in chosen)
    return Selection(_shaped([kept[0] for kept, _ in chosen], masks, orders), threshold)


def apportion(
    sizes: Mapping[str, int], density: float, at_most: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Share round(density * sum of sizes) among layers: density * size each, largest remainders rounded up.

    No layer gets more than `at_most` of it, its size if not given: rounding alone could give a layer more at
    a lower density than it had at a higher one.
    """
    shares = {name: density * size for name, size in sizes.items()}
    return whole(shares, count(density, sum(sizes.values())), sizes if at_most is None else at_most)


def whole(shares: Mapping[str, float], total: int, most: Mapping[str, int]) -> dict[str, int]:
    """Whole numbers that sum to `total`, none above `most`: rounded down, largest remainders up.

    Of equal remainders the first layer's goes up. `shares` must sum to `total`, but for rounding errors.
    """
    kept = {name: min(int(share), most[name]) for name, share in shares.items()}
    for _ in range(total - sum(kept.values())):
        open_layers = [name for name in kept if kept[name] < most[name]]
        kept[max(open_layers, key=lambda name: shares[name] - kept[name])] += 1
    return kept


def _shaped(rows: Sequence[Tensor], masks: Masks, orders: Mapping[str, Order]) -> Masks:
    pairs = zip(masks.items(), rows, strict=True)
    return Masks({name: unflattened(row, mask.shape, orders[name]) for (name, mask), row in pairs})
