"""How a process that runs cells is set up, once, before it does."""

from __future__ import annotations

import ctypes
import os

import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of `mallopt` in glibc."""

_KEPT = 1 << 28
"""Bytes: smaller blocks are used again when they are freed; larger ones go back to the system."""


_SPINS = "20000"
"""How often a thread of GNU OpenMP looks for work before it sleeps: a few tenths of a millisecond."""


def thread_environment(threads: int) -> dict[str, str]:
    """What the environment of a process says to libraries, when they are loaded, of `threads` threads each.

    Between parallel parts GNU OpenMP's threads look for work for milliseconds, and leave no core to others,
    such as those that select weights. Where somebody has said how they are to wait, that stays.
    """
    pools = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    waiting = {} if os.environ.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} else {"GOMP_SPINCOUNT": _SPINS}
    return dict.fromkeys(pools, str(threads)) | waiting


def set_up_process(device: torch.device, threads: int) -> None:
    """Make what this process computes on `device` repeatable, and quick to compute."""
    make_repeatable(device, threads)
    if device.type == "cpu":
        keep_freed_memory()


def make_repeatable(device: torch.device, threads: int) -> None:
    """Fix what decides the order of floating-point sums: threads on a CPU, algorithms on a GPU.

    Subnormal numbers are flushed to zero: moments of masked or dead weights decay into them, where a
    processor is many times slower.
    """
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        torch.use_deterministic_algorithms(True, warn_only=True)


def keep_freed_memory() -> bool:
    """Let the C library keep what is freed; whether it has such a setting.

    By default glibc gives large blocks back to the system, which has to zero new pages for the next ones: at
    every step of a network with large activations that can take longer than its arithmetic.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _KEPT)) and bool(mallopt(_TRIM_THRESHOLD, 2**31 - 1))
