"""A run of many cells on many workers, simulated event by event: dispatch, stragglers, failures, reruns."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

HOUR = 3600.0


@dataclass(frozen=True)
class Cluster:
    """What is assumed of a cluster; seconds, unless said otherwise.

    One front process dispatches cells one after another, each in `dispatch`. A worker is ready after `start`,
    and again after every failure. `slow` of the workers take `slowness` times as long; besides, a cell takes
    its time times a log-normal factor of median 1 whose logarithm has the standard deviation `spread`.
    Workers fail at `failures` an hour, whenever they run a cell; the cell is lost and goes to the head of the
    queue.
    """

    workers: int
    dispatch: float = 0.0
    start: float = 0.0
    spread: float = 0.0
    slow: float = 0.0
    slowness: float = 1.0
    failures: float = 0.0


@dataclass(frozen=True)
class Simulated:
    """How a simulated run went. `useful` are the worker seconds of attempts that ended well, `lost` those of
    the others."""

    makespan: float
    useful: float
    lost: float
    failures: int
    utilisation: float


def simulate(seconds: Sequence[float], cluster: Cluster, seed: int = 0) -> Simulated:
    """Run cells of so many `seconds` in the order given; equal seeds give equal runs."""
    return _Run(seconds, cluster, seed).result()


class _Run:
    def __init__(self, seconds: Sequence[float], cluster: Cluster, seed: int) -> None:
        self._seconds, self._cluster = seconds, cluster
        self._draw = random.Random(seed)  # noqa: S311
        self._queue = deque(range(len(seconds)))
        self._factor = [self._draw.lognormvariate(0, cluster.spread) for _ in seconds]
        self._pace = [
            cluster.slowness if self._draw.random() < cluster.slow else 1.0 for _ in range(cluster.workers)
        ]
        self._dispatcher_free = self._end = self._useful = self._lost = 0.0
        self._failures = 0
        self._order = count()
        # A worker that is ready, and the cell that it has just lost, or none.
        self._events: list[tuple[float, int, int, int | None]] = []

    def result(self) -> Simulated:
        for worker in range(self._cluster.workers):
            self._ready(self._cluster.start, worker)
        idle: list[int] = []
        while self._events:
            now, _, worker, lost = heapq.heappop(self._events)
            if lost is not None:
                self._queue.appendleft(lost)
                self._ready(now + self._cluster.start, worker)
                if idle:
                    self._run(now, idle.pop())
            elif self._queue:
                self._run(now, worker)
            else:
                idle.append(worker)
        held = self._cluster.workers * self._end
        return Simulated(
            self._end, self._useful, self._lost, self._failures, self._useful / held if held else 1.0
        )

    def _ready(self, when: float, worker: int, lost: int | None = None) -> None:
        heapq.heappush(self._events, (when, next(self._order), worker, lost))

    def _run(self, now: float, worker: int) -> None:
        cell = self._queue.popleft()
        begin = self._dispatcher_free = max(now, self._dispatcher_free) + self._cluster.dispatch
        length = self._seconds[cell] * self._factor[cell] * self._pace[worker]
        rate = self._cluster.failures / HOUR
        alive = self._draw.expovariate(rate) if rate else float("inf")
        if alive < length:
            self._lost += alive
            self._failures += 1
            self._ready(begin + alive, worker, cell)
        else:
            self._useful += length
            self._end = max(self._end, begin + length)
            self._ready(begin + length, worker)
