"""Random crops and flips of a whole batch at once, on its device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from synflow_bench.data import Augmentation


def augment(images: Tensor, change: Augmentation, generator: torch.Generator) -> Tensor:
    """Crop each of `images` (N, C, H, W) at its own offset after zero padding, and flip every other on
    average.

    The draws come from `generator`, which lives on the CPU, so that they are the same on every device.
    """
    count, _, height, width = images.shape
    margin = change.crop_padding
    top, left = torch.randint(2 * margin + 1, (2, count), generator=generator).to(images.device)
    rows = top[:, None] + torch.arange(height, device=images.device)
    columns = left[:, None] + torch.arange(width, device=images.device)
    if change.flip:
        flipped = torch.randint(2, (count, 1), generator=generator).to(images.device, torch.bool)
        columns = torch.where(flipped, columns.flip(1), columns)
    padded = pad(images, (margin,) * 4) if margin else images
    each = torch.arange(count, device=images.device)[:, None, None]
    return padded[each, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
