"""Simulate a run of the suite synflow-2020 on a cluster; write the tables and the chart of the page.

`python benchmarks/simulate_cluster.py --help` lists what is assumed. Equal options give equal tables.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from measure_scaling import FIGURES, write
from scaling.cluster import HOUR, Cluster, simulate
from scaling.orders import ORDERS, ordered
from scaling.suite_costs import Costs, costs_of

GPUS = (1, 10, 30, 100, 300, 1000, 2000, 4000)
FAILURES = (0.0001, 0.001, 0.003, 0.01, 0.03, 0.1)


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
    from scaling.charts import write_cluster

    write_cluster(options.output / "scaling-cluster.svg", rows)
    for row in rows:
        print("  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    for name, value, about in (
        ("suite", "synflow-2020", "an installed suite that names its pruners"),
        ("gpus", 1000, "workers, one a GPU"),
        ("tflops", 10.0, "sustained TFLOP/s of a GPU"),
        ("dispatch", 0.01, "seconds of the front process for each cell, one after another"),
        ("start", 60.0, "seconds until a worker is ready, at first and after a failure"),
        ("spread", 0.05, "standard deviation of the logarithm of a cell's time"),
        ("slow", 0.02, "share of slow GPUs"),
        ("slowness", 1.5, "how many times as long they take"),
        ("failures", 0.001, "failures a GPU-hour"),
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
        "utilisation": fmean(run.utilisation for run in runs),
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
            "hours_a_cell": costs.seconds[digest] / HOUR,
        }


if __name__ == "__main__":
    main()
