"""What makes an identity shortcut prunable."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ResidualScale(nn.Module):
    """Multiplies each channel of (N, C, H, W) by an entry of `scale` (C,): ones, which training leaves alone.

    Put in the place of an identity shortcut it changes nothing, until `prune_residual` removes entries:
    then the shortcut of those channels is cut. Tanaka et al., "Pruning neural networks without any data by
    iteratively conserving synaptic flow", 2020, arXiv 2006.05467, whose code has such an option.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """The scaled input, of its shape."""
        return x * self.scale[:, None, None]
