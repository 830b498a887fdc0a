"""Wall time that a device has had its part in."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

Clock = Callable[[torch.device], float]
"""Seconds, once the device has done what it was given."""


def wall(device: torch.device) -> float:
    """Wait for `device`, then read the clock."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    if device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter()
