"""Latencies of two networks on one thread, measured in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

SECONDS = 2.0
"""The seconds for the runs of one pair of networks at one batch size."""

FEWEST, MOST = 5, 200
"""The numbers of runs of each network."""


@dataclass(frozen=True)
class Latency:
    """The latency of two networks that compute the same.

    Attributes:
        runtime: `torch` or `onnxruntime`.
        batch: The batch size.
        before: The median seconds of the first network.
        after: The median seconds of the second.
        runs: The number of runs of each.
    """

    runtime: str
    batch: int
    before: float
    after: float
    runs: int

    @property
    def ratio(self) -> float:
        """The factor by which the second network is faster."""
        return self.before / self.after


def measure_latencies(
    runtime: str,
    before: Callable[[Tensor], object],
    after: Callable[[Tensor], object],
    inputs: Tensor,
    batches: Sequence[int],
    seconds: float = SECONDS,
) -> Iterator[Latency]:
    """Yield the latency at every batch size: medians of runs in turns, so that both see the same machine.

    Args:
        runtime: The name of what runs them.
        before: Runs the first network.
        after: Runs the second network.
        inputs: Examples (N, ...), repeated where a batch is larger.
        batches: The batch sizes.
        seconds: The time for each batch size.
    """
    for batch in batches:
        example = inputs.repeat(-(-batch // len(inputs)), *[1] * (inputs.dim() - 1))[:batch].contiguous()
        warmed = time.perf_counter()
        for run in (before, after):
            run(example)
        each = time.perf_counter() - warmed
        runs = min(MOST, max(FEWEST, int(seconds / max(each, 1e-6))))
        times = [(_seconds(before, example), _seconds(after, example)) for _ in range(runs)]
        first, second = (median(side) for side in zip(*times, strict=True))
        yield Latency(runtime, batch, first, second, runs)


def _seconds(run: Callable[[Tensor], object], example: Tensor) -> float:
    started = time.perf_counter()
    run(example)
    return time.perf_counter() - started


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
