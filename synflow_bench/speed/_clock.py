"""Clocks for measuring."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

Clock = Callable[[torch.device], float]
"""Seconds, once the device has done what it was given."""


def clock_for(device: torch.device, resident: bool) -> Clock:
    """The processor time of this process where it does all the work alone, else wall time.

    On a machine that nothing else uses they are the same; on a busy one, the first does not depend on it.
    """
    alone = device.type == "cpu" and resident and torch.get_num_threads() == 1
    return processor if alone else wall


def processor(_: torch.device) -> float:
    """The processor time of this process."""
    return time.process_time()


def wall(device: torch.device) -> float:
    """Wait for `device`, then read the clock."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    if device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter()
