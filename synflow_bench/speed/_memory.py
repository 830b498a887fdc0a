"""The most memory that was in use since the last reset."""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from pathlib import Path

import torch

_SELF = Path("/proc/self")


def forget_peak(device: torch.device) -> None:
    """Let the next peak begin here, where the system can: on Linux, and on a CUDA device."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):
        (_SELF / "clear_refs").write_text("5")


def peak(device: torch.device) -> int:
    """Bytes: of tensors on a CUDA device, of the whole process elsewhere."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    with suppress(OSError, IndexError):
        status = (_SELF / "status").read_text(encoding="utf-8")
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
