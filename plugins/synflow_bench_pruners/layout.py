"""How tensors lie in memory where that decides how fast a pruner is."""

from __future__ import annotations

import torch
from torch import Tensor


def channels_last(tensor: Tensor) -> Tensor:
    """Images and kernels with channels last on a CPU: a few images through large kernels are faster so."""
    if tensor.dim() == 4 and tensor.device.type == "cpu":
        return tensor.contiguous(memory_format=torch.channels_last)
    return tensor
