"""Simulate a run of the suite synflow-2020 on a cluster; write the tables and the chart of the page.

`python benchmarks/simulate_cluster.py --help` lists the assumptions. Equal options give equal tables.
"""

from __future__ import annotations

import argparse
import heapq
import random
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from statistics import fmean
from typing import Any

import altair as alt
import torch
from measure_scaling import FIGURES, Rows, write

from synflow_bench.charts import PALETTE, SHAPES, chart_bytes, titled
from synflow_bench.execution import cells_of, resolve_pruners
from synflow_bench.host import Host
from synflow_bench.metrics import uses_of_weights
from synflow_bench.suites import Cell, Setting, Suite

HOUR = 3600.0
ORDERS = ("as in the suite", "at random", "longest first")
GPUS = (1, 10, 30, 100, 300, 1000, 2000, 4000)
FAILURES = (0.0001, 0.001, 0.003, 0.01, 0.03, 0.1)
BACKWARD = 2
"""A backward pass takes twice a forward pass: one product for the inputs, one for the weights."""


@dataclass(frozen=True)
class Cluster:
    """The assumptions about a cluster, in seconds where no unit is given.

    One front process dispatches cells one after another, each in `dispatch`. A worker is ready after `start`,
    and again after every failure. `slow` of the workers take `slowness` times as long; besides, a cell takes
    its time times a log-normal factor of median 1 whose logarithm has the standard deviation `spread`.
    Workers fail at `failures` per hour, whenever they run a cell; a lost cell goes to the head of the queue.
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
    """The result of a simulated run; `useful` and `lost` are worker seconds of completed and lost cells."""

    makespan: float
    useful: float
    lost: float
    failures: int
    utilization: float


def simulate(seconds: Sequence[float], cluster: Cluster, seed: int = 0) -> Simulated:
    """Simulate cells of these `seconds` in this order; equal seeds give equal runs."""
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


def ordered(seconds: Sequence[float], order: str, seed: int) -> list[float]:
    """Return the lengths of cells in one of the `ORDERS`."""
    if order == "longest first":
        return sorted(seconds, reverse=True)
    if order == "at random":
        return random.Random(seed).sample(list(seconds), len(seconds))  # noqa: S311
    return list(seconds)


@dataclass(frozen=True)
class Costs:
    """The seconds of a cell and the multiply-accumulates of an example, by the digest of the setting."""

    cells: list[Cell]
    macs: Mapping[str, int]
    seconds: Mapping[str, float]

    @property
    def each(self) -> list[float]:
        """The seconds of every cell, in the order of the suite."""
        return [self.seconds[cell.setting.digest] for cell in self.cells]


def costs_of(suite_name: str, tflops: float) -> Costs:
    """Return the costs of an installed suite with its own pruners, at `tflops` sustained TFLOP/s.

    Training and evaluation after every epoch are counted. Pruning is not: each of 100 rounds of synflow is
    one forward and backward pass of one example.
    """
    host = Host.load()
    suite: Suite = host.suites.get(suite_name)
    macs = {setting.digest: macs_of(setting, host) for setting in suite.settings}
    seconds = {
        setting.digest: flops_of(setting, macs[setting.digest], host) / (tflops * 1e12)
        for setting in suite.settings
    }
    return Costs(cells_of(suite, resolve_pruners(suite.pruners, host), host), macs, seconds)


def macs_of(setting: Setting, host: Host) -> int:
    """Return the multiply-accumulates of the network of a setting for one example."""
    dataset = host.datasets.get(setting.dataset)
    model = host.models.get(setting.model.name)(dataset.input_shape, dataset.num_classes)
    uses, _ = uses_of_weights(model, torch.zeros(1, *dataset.input_shape))
    return sum(number * model.get_parameter(name).numel() for name, number in uses.items())


def flops_of(setting: Setting, macs: int, host: Host) -> float:
    """Return the floating-point operations of a cell: training, and validation and test after every epoch."""
    images, test = host.datasets.get(setting.dataset).sizes
    held_out = setting.recipe.validation_fraction * images
    passes = (1 + BACKWARD) * (images - held_out) + held_out + test
    return 2.0 * macs * passes * setting.total_epochs


def write_cluster(path: Path, rows: Rows) -> None:
    """Draw hours and utilization against the number of GPUs, and lost work against failures."""
    by_gpus = [row for row in rows if row["study"] == "gpus"]
    failing = [row for row in rows if row["study"] == "failures"]
    orders = list(dict.fromkeys(row["order"] for row in by_gpus))
    panels = [
        _against("gpus", "GPUs", "makespan_hours", "hours until the last cell", by_gpus, orders, log=True),
        _against("gpus", "GPUs", "utilization", "utilization", by_gpus, orders, log=False),
        _against(
            "failures_per_hour",
            "failures per GPU-hour",
            "lost_share",
            "work lost",
            failing,
            orders,
            log=False,
        ),
    ]
    lines = ["simulated: mean of several seeds; assumptions are on the page"]
    chart = titled(alt.hconcat(*panels), "The suite synflow-2020 on a cluster", lines)
    path.write_bytes(chart_bytes(chart, path))


def _against(x: str, x_title: str, y: str, y_title: str, rows: Rows, orders: list[str], *, log: bool) -> Any:
    scale = alt.Scale(type="log") if log else alt.Scale(domainMin=0)
    legend = alt.Legend(title="order of cells", orient="bottom")
    domain, many = orders, len(orders)
    return (
        alt.Chart(alt.Data(values=[dict(row) for row in rows]))
        .mark_line(point={"size": 40, "filled": True})
        .encode(
            x=alt.X(
                f"{x}:Q", scale=alt.Scale(type="log"), title=x_title, axis=alt.Axis(format="~g", tickCount=4)
            ),
            y=alt.Y(
                f"{y}:Q", scale=scale, title=y_title, axis=alt.Axis(format="~g" if log else "%", tickCount=5)
            ),
            color=alt.Color(
                "order:N", scale=alt.Scale(domain=domain, range=list(PALETTE[:many])), legend=legend
            ),
            shape=alt.Shape(
                "order:N", scale=alt.Scale(domain=domain, range=list(SHAPES[:many])), legend=legend
            ),
        )
        .properties(width=210, height=200)
    )


def main() -> None:
    options = _options()
    costs = costs_of(options.suite, options.tflops)
    assumed = Cluster(
        workers=options.gpus,
        dispatch=options.dispatch,
        start=options.start,
        spread=options.spread,
        slow=options.slow,
        slowness=options.slowness,
        failures=options.failures,
    )
    rows = list(_studies(costs.each, assumed, options.seeds))
    options.output.mkdir(parents=True, exist_ok=True)
    write(options.output / "scaling-cluster-settings.csv", _settings(costs))
    write(options.output / "scaling-cluster.csv", rows)
    write_cluster(options.output / "scaling-cluster.svg", rows)
    for row in rows:
        print("  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    for name, value, about in (
        ("suite", "synflow-2020", "an installed suite that names its pruners"),
        ("gpus", 1000, "workers, one per GPU"),
        ("tflops", 10.0, "sustained TFLOP/s of a GPU"),
        ("dispatch", 0.01, "seconds of the front process for each cell, one after another"),
        ("start", 60.0, "seconds until a worker is ready, at first and after a failure"),
        ("spread", 0.05, "standard deviation of the logarithm of a cell's time"),
        ("slow", 0.02, "share of slow GPUs"),
        ("slowness", 1.5, "how many times as long they take"),
        ("failures", 0.001, "failures per GPU-hour"),
        ("seeds", 20, "simulations that are averaged"),
        ("output", FIGURES, "folder to write into"),
    ):
        parser.add_argument(
            f"--{name}", type=type(value) if name != "output" else Path, default=value, help=about
        )
    return parser.parse_args()


def _studies(seconds: Sequence[float], assumed: Cluster, seeds: int) -> Iterator[dict[str, Any]]:
    ideal = Cluster(assumed.workers)
    for order in ORDERS:
        yield _row("ideal", order, seconds, ideal, seeds)
        yield _row("assumed", order, seconds, assumed, seeds)
    for order in ORDERS:
        for gpus in GPUS:
            yield _row("gpus", order, seconds, replace(assumed, workers=gpus), seeds)
    for order in ORDERS:
        for rate in FAILURES:
            yield _row("failures", order, seconds, replace(assumed, failures=rate), seeds)


def _row(study: str, order: str, seconds: Sequence[float], cluster: Cluster, seeds: int) -> dict[str, Any]:
    runs = [simulate(ordered(seconds, order, seed), cluster, seed) for seed in range(seeds)]
    hours = [run.makespan / HOUR for run in runs]
    work = sum(seconds) / HOUR
    return {
        "study": study,
        "order": order,
        "gpus": cluster.workers,
        "failures_per_hour": cluster.failures,
        "makespan_hours": fmean(hours),
        "least_hours": min(hours),
        "most_hours": max(hours),
        "bound_hours": max(work / cluster.workers, max(seconds) / HOUR),
        "utilization": fmean(run.utilization for run in runs),
        "failures": fmean(run.failures for run in runs),
        "lost_gpu_hours": fmean(run.lost for run in runs) / HOUR,
        "lost_share": fmean(run.lost / (run.lost + run.useful) for run in runs),
    }


def _settings(costs: Costs) -> Iterator[dict[str, Any]]:
    settings = {cell.setting.digest: cell.setting for cell in costs.cells}
    for digest, setting in settings.items():
        yield {
            "dataset": setting.dataset,
            "model": setting.model.name,
            "epochs": setting.total_epochs,
            "million_macs": costs.macs[digest] / 1e6,
            "cells": sum(cell.setting.digest == digest for cell in costs.cells),
            "hours_per_cell": costs.seconds[digest] / HOUR,
        }


if __name__ == "__main__":
    main()
