"""Measure how costs grow, fit power laws, and write `scaling.csv`, `scaling-fits.csv` and `scaling.svg`.

`python benchmarks/measure_scaling.py [--output FOLDER]`: two or three minutes, one thread.

A shared machine disturbs processor time least, and each point is the least of a few repeats. Where several
processes or a disk take part, it is wall time.
"""

from __future__ import annotations

import argparse
import csv
import math
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import altair as alt
import torch
from bench_harness import dispatch_seconds, plan_seconds
from bench_training_step import random_masks
from made_up_data import MadeUp
from scipy.stats import linregress
from torch import nn

from synflow_bench import Pruner, prune
from synflow_bench.charts import PALETTE, SHAPES, chart_bytes, titled
from synflow_bench.execution import Plan, Resources, run_plan
from synflow_bench.host import Host
from synflow_bench.records import Store
from synflow_bench.suites import Cell, ModelSpec, PrunerSpec, Recipe, Setting
from synflow_bench.training import LoadedData, Streams, Training, TrainingData, train

FIGURES = Path(__file__).parents[1] / "docs" / "figures"
Rows = Sequence[Mapping[str, Any]]
PANELS = {
    "weights": "prunable weights",
    "rounds": "rounds",
    "examples": "training examples",
    "cells": "cells",
}
SIZE = {"width": 250, "height": 190}
PROCESSOR, WALL = "processor", "wall"
RECIPE = Recipe(epochs=1, optimizer="adam", lr=1e-3, batch_size=64, validation_fraction=0)


@dataclass(frozen=True)
class Point:
    """`seconds` of `cost` at `x` on an axis."""

    axis: str
    cost: str
    x: int
    seconds: float
    clock: str


def everything() -> Iterator[Point]:
    """Yield all points as they are measured."""
    for axis in (weights, rounds, examples, cells, workers):
        yield from axis()


def least(work: Callable[[], object], repeats: int) -> float:
    """Return the least processor time of several repeats, after one that warms up."""
    times = []
    for _ in range(repeats + 1):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times[1:])


def perceptron(weights: int) -> nn.Sequential:
    """Return a network of 784 inputs, two hidden layers and 10 outputs, with about `weights` weights."""
    width = round((-794 + math.sqrt(794**2 + 4 * weights)) / 2)
    layers = [nn.Linear(784, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10)]
    return nn.Sequential(nn.Flatten(), *layers)


def weights() -> Iterator[Point]:
    """Time five rounds of synflow and one of magnitude on networks of 10^4 to 10^7 weights."""
    pruners = Host.load().pruners
    for size in (10**4, 10**5, 10**6, 3 * 10**6, 10**7):
        model = perceptron(size)
        count = sum(p.numel() for p in model.parameters() if p.dim() > 1)
        for name, times in (("synflow", 5), ("magnitude", 1)):
            pruner = pruners.get(name)(rounds=times)
            seconds = least(
                lambda model=model, pruner=pruner: _prune(model, pruner), 3 if size > 10**6 else 9
            )
            yield Point("weights", f"{name}, a round", count, seconds / times, PROCESSOR)


def rounds() -> Iterator[Point]:
    """Time synflow on a network of 10^6 weights, in 5 to 100 rounds."""
    model, synflow = perceptron(10**6), Host.load().pruners.get("synflow")
    for number in (5, 10, 20, 50, 100):
        pruner = synflow(rounds=number)
        seconds = least(lambda pruner=pruner: _prune(model, pruner), 3)
        yield Point("rounds", "synflow, 10^6 weights", number, seconds, PROCESSOR)


def _prune(model: nn.Module, pruner: Pruner) -> object:
    return prune(model, pruner, compression=100, input_shape=(1, 28, 28))


def examples() -> Iterator[Point]:
    """Time an epoch of fc on 1,000 to 60,000 images; 100 are evaluated before and after."""
    for number in (1000, 3000, 10_000, 30_000, 60_000):
        training = _training(number)
        seconds = least(lambda training=training: train(training), 2)
        yield Point("examples", "an epoch of fc", number, seconds, PROCESSOR)


def _training(number: int) -> Training:
    model = Host.load().models.get("fc")((1, 28, 28), 10)
    data = LoadedData.load(MadeUp(), Path(), torch.device("cpu"))
    examples = TrainingData(
        data.train.take(torch.arange(number)), None, data.test.take(torch.arange(100)), None
    )
    streams = Streams(torch.Generator(), torch.Generator())
    return Training(model, random_masks(model), RECIPE, examples, streams)


def cells() -> Iterator[Point]:
    """Time the planning of 10^2 to 10^5 cells, and the dispatch of 50 to 800 that end at once."""
    host = Host.load()
    for number in (100, 1000, 10_000, 100_000):
        with tempfile.TemporaryDirectory() as folder:
            runs = [plan_seconds(number, host, Path(folder)) for _ in range(3)]
        yield Point("cells", "planning", runs[0][0], min(seconds for _, seconds in runs), PROCESSOR)
    for number in (50, 200, 800):
        with tempfile.TemporaryDirectory() as folder:
            yield Point(
                "cells", "dispatch and record", number, dispatch_seconds(number, host, Path(folder)), WALL
            )


def workers() -> Iterator[Point]:
    """Time forty trainings of fc on the digits, six epochs each, with one and two started workers."""
    for number in (1, 2):
        yield Point("workers", "40 cells of digits", number, min(_run(number) for _ in range(3)), WALL)


def _run(number: int) -> float:
    setting = Setting(
        dataset="digits", model=ModelSpec(name="fc"), recipe=RECIPE.model_copy(update={"epochs": 6})
    )
    pruner = PrunerSpec(name="magnitude", label="magnitude")
    chosen = [Cell(setting=setting, pruner=pruner, compression=10, seed=seed) for seed in range(40)]
    first = [cell.model_copy(update={"compression": 2.0}) for cell in chosen[:number]]
    with tempfile.TemporaryDirectory() as folder:
        resources = Resources(Path(folder), "cpu", workers=number)
        executor = Host.load().executors.get("local")(resources, lambda *_: None)
        for cell in first:
            executor.submit(cell)
        list(executor.finished())  # every worker has begun
        started = time.perf_counter()
        run_plan(Plan(chosen, missing=chosen), Store(Path(folder) / "results"), executor)
        return time.perf_counter() - started


def fitted(points: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Fit a power law to every cost with three points or more."""
    found = []
    for (axis, cost), group in groupby(sorted(points, key=_series), key=_series):
        rows = list(group)
        if len(rows) < 3:
            continue
        x, y = ([math.log(row[key]) for row in rows] for key in ("x", "seconds"))
        law = linregress(x, y)
        numbers = {"factor": math.exp(law.intercept), "slope": law.slope, "error": law.stderr}
        numbers |= {"r2": law.rvalue**2, "last_slope": _last_slope(rows)}
        found.append({"axis": axis, "cost": cost, "points": len(rows), **numbers})
    return found


def _last_slope(rows: Sequence[Mapping[str, Any]]) -> float:
    """Return the slope between the two largest sizes, where constant costs matter least."""
    (x, y), (later_x, later_y) = sorted((row["x"], row["seconds"]) for row in rows)[-2:]
    return math.log(later_y / y) / math.log(later_x / x)


def _series(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["axis"], row["cost"]


def write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows with equal columns as CSV, with six significant digits."""
    rows = list(rows)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows
        )


def write_growth(path: Path, points: Rows, fits: Rows) -> None:
    """Draw seconds against size: a panel for each axis with three points or more, and the fitted lines."""
    panels = [_panel(axis, title, points, fits) for axis, title in PANELS.items()]
    rows = [_apart(alt.hconcat(*panels[:2])), _apart(alt.hconcat(*panels[2:]))]
    chart = _apart(alt.vconcat(*rows))
    lines = ["one thread; points are the least of several repeats, lines are power laws: slope in the legend"]
    path.write_bytes(chart_bytes(titled(chart, "How costs grow", lines), path))


def _apart(chart: Any) -> Any:
    return chart.resolve_scale(color="independent", shape="independent")


def _panel(axis: str, title: str, points: Rows, fits: Rows) -> Any:
    slopes = {fit["cost"]: fit for fit in fits if fit["axis"] == axis}
    names = {cost: f"{cost}: {fit['slope']:.2f}" for cost, fit in slopes.items()}
    rows = [
        {
            "x": point["x"],
            "seconds": point["seconds"],
            "fit": slopes[point["cost"]]["factor"] * point["x"] ** slopes[point["cost"]]["slope"],
            "cost": names[point["cost"]],
        }
        for point in points
        if point["axis"] == axis and point["cost"] in slopes
    ]
    base = alt.Chart(alt.Data(values=rows))
    x = alt.X("x:Q", scale=alt.Scale(type="log"), title=title, axis=alt.Axis(format="~s", tickCount=5))
    color = _coded(list(names.values()))
    seconds = alt.Axis(format="~g", tickCount=4)
    scale = alt.Scale(type="log")
    lines = base.mark_line(strokeWidth=1.2).encode(
        x=x, y=alt.Y("fit:Q", scale=scale, title="seconds", axis=seconds), color=color["color"]
    )
    marks = base.mark_point(size=50, filled=True, opacity=1).encode(
        x=x, y=alt.Y("seconds:Q", scale=scale), **color
    )
    return alt.layer(lines, marks).properties(**SIZE)


def _coded(names: list[str]) -> dict[str, Any]:
    legend = alt.Legend(title=None, orient="top", direction="vertical")
    many = len(names)
    return {
        "color": alt.Color(
            "cost:N", scale=alt.Scale(domain=names, range=list(PALETTE[:many])), legend=legend
        ),
        "shape": alt.Shape("cost:N", scale=alt.Scale(domain=names, range=list(SHAPES[:many])), legend=legend),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=FIGURES, help="folder (default: that of the page)")
    output: Path = parser.parse_args().output

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    points = []
    for point in everything():
        points.append(asdict(point))
        print(
            f"{point.axis:9} {point.cost:24} {point.x:10,} {point.seconds:10.5f} s {point.clock}", flush=True
        )
    output.mkdir(parents=True, exist_ok=True)
    fits = fitted(points)
    write(output / "scaling.csv", points)
    write(output / "scaling-fits.csv", fits)
    write_growth(output / "scaling.svg", points, fits)


if __name__ == "__main__":
    main()
