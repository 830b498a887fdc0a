"""Workers that share a GPU: more are started as long as its memory has room, which the first cells show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from synflow_bench.errors import UsageError
from synflow_bench.training import free_memory, most_batched, usable_cores

CELLS_PER_GPU = "cells_per_gpu"
"""The option of the executor that limits the cells on a GPU."""

MOST_WORKERS = 4
"""The most workers on a GPU: each has a process of its own, and a GPU runs one of them at a time."""

MARGIN = 1.5
"""The memory for another worker, in units of what one has used: its cells may be larger."""

CONTEXT = 1 << 30
"""The bytes on a GPU that a process needs besides its tensors."""


@dataclass(frozen=True)
class MemoryUsed:
    """A worker has measured the memory of its GPU.

    Attributes:
        peak: The most bytes that it has held for its last cells.
        free: The bytes that are free on the GPU, between the cells of this worker.
    """

    peak: int
    free: int

    @classmethod
    def of(cls, device: torch.device) -> MemoryUsed | None:
        """Measure, and return memory that is not in use to the GPU; None for other devices."""
        if device.type != "cuda":
            return None
        peak = torch.cuda.max_memory_reserved(device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return cls(peak, free_memory(device) or 0)


@dataclass(frozen=True)
class GpuSharing:
    """The cells that may run on one device at a time.

    Attributes:
        cells: The most cells, as the user has said; 0 for as many as fit.
        workers: The most workers, as the user and the cores allow.
        grows: True if workers may be added.
    """

    cells: int
    workers: int
    grows: bool

    @classmethod
    def of(cls, options: Mapping[str, str], devices: list[str], threads: int, workers: int) -> GpuSharing:
        """Read the option, for workers with `threads` threads on `devices`.

        Args:
            options: The options of the executor.
            devices: The devices.
            threads: The threads per worker.
            workers: The number of workers that the user has asked for; 0 if any.

        Raises:
            UsageError: The option is not a number from 1 on, or there is no GPU.
        """
        text = str(options.get(CELLS_PER_GPU, "0"))
        on_gpus = devices[0].startswith("cuda")
        if CELLS_PER_GPU in options and not on_gpus:
            raise UsageError(f"--cells-per-gpu has no effect on device {devices[0]!r}; leave it out")
        if not text.isdecimal() or (CELLS_PER_GPU in options and not int(text)):
            raise UsageError(f"cells_per_gpu is {text!r}; give a whole number from 1 on")
        cells, cores = int(text), usable_cores() // (threads * len(devices))
        most = max(1, min(MOST_WORKERS, cores, cells or MOST_WORKERS))
        return cls(cells, most, on_gpus and not workers)

    def has_room(self, workers: int, used: MemoryUsed) -> bool:
        """Return True if another worker fits beside so many on the GPU of one of them.

        That one will use its memory again.
        """
        needed = used.peak + MARGIN * used.peak + CONTEXT
        return self.grows and workers < self.workers and used.free >= needed

    def most_batched(self, device: str, workers: int) -> int:
        """Return the most cells in one batch of one of so many workers on a device."""
        most = most_batched(torch.device(device).type)
        if self.cells < most:  # a batch would be filled up
            return 1 if self.cells else most
        return max(1, min(most, self.cells // workers))


def trains_alone(options: Mapping[str, str], device: str) -> bool:
    """Return True if the user allows fewer cells on a GPU than a batch has, which is never a smaller one."""
    return 0 < int(options.get(CELLS_PER_GPU, "0")) < most_batched(torch.device(device).type)
