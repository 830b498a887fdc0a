"""In which order a tensor's entries lie in memory: reading them otherwise is many times slower."""

from __future__ import annotations

import torch
from torch import Tensor

CHANNELS_LAST = (0, 2, 3, 1)

Order = tuple[int, ...]


def order_of(tensor: Tensor) -> Order:
    """The dimensions of `tensor` from the slowest in memory to the fastest; channels last, or as they are."""
    if (
        tensor.dim() == 4
        and not tensor.is_contiguous()
        and tensor.is_contiguous(memory_format=torch.channels_last)
    ):
        return CHANNELS_LAST
    return tuple(range(tensor.dim()))


def flattened(tensor: Tensor, order: Order) -> Tensor:
    """The entries in `order`, (n,): a view where they lie so."""
    return tensor.detach().permute(order).reshape(-1)


def unflattened(row: Tensor, shape: torch.Size, order: Order) -> Tensor:
    """The inverse of `flattened`: a view of `row` of `shape`."""
    laid_out = row.view([shape[dimension] for dimension in order])
    return laid_out.permute([order.index(dimension) for dimension in range(len(order))])
