"""What is timed, axis by axis: each a few seconds of processor time, in one thread.

Processor time is what a shared machine disturbs least; each point is the least of a few repeats. Where
several processes or a disk take part, it is wall time.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from harness import dispatch_seconds, plan_seconds
from torch import nn

from synflow_bench import Pruner, prune
from synflow_bench.execution import Plan, Resources, run_plan
from synflow_bench.execution.local import LocalExecutor
from synflow_bench.host import Host
from synflow_bench.records import Store
from synflow_bench.suites import Cell, ModelSpec, PrunerSpec, Recipe, Setting
from synflow_bench.training import Examples, Streams, Training, train
from synflow_bench.training.normalisation import Normalisation
from synflow_bench.training.resident import ResidentSplit

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
    """All points, as they are measured."""
    for axis in (weights, rounds, examples, cells, workers):
        yield from axis()


def least(work: Callable[[], object], repeats: int) -> float:
    """The least processor time of several repeats, after one that warms up."""
    times = []
    for _ in range(repeats + 1):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times[1:])


def perceptron(weights: int) -> nn.Sequential:
    """784 inputs, two hidden layers of equal width and 10 outputs, with about so many weights."""
    width = round((-794 + math.sqrt(794**2 + 4 * weights)) / 2)
    layers = [nn.Linear(784, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10)]
    return nn.Sequential(nn.Flatten(), *layers)


def weights() -> Iterator[Point]:
    """Five rounds of synflow and one of magnitude on networks of 10^4 to 10^7 weights."""
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
    """All of synflow on a network of 10^6 weights, in 5 to 100 rounds."""
    model, synflow = perceptron(10**6), Host.load().pruners.get("synflow")
    for number in (5, 10, 20, 50, 100):
        pruner = synflow(rounds=number)
        seconds = least(lambda pruner=pruner: _prune(model, pruner), 3)
        yield Point("rounds", "synflow, 10^6 weights", number, seconds, PROCESSOR)


def _prune(model: nn.Module, pruner: Pruner) -> object:
    return prune(model, pruner, compression=100, input_shape=(1, 28, 28))


def examples() -> Iterator[Point]:
    """An epoch of fc on 1,000 to 60,000 images, one network; 100 are evaluated before and after."""
    for number in (1000, 3000, 10_000, 30_000, 60_000):
        seconds = least(lambda number=number: train(_training(number)), 2)
        yield Point("examples", "an epoch of fc", number, seconds, PROCESSOR)


def _training(number: int) -> Training:
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (number, 1, 28, 28), dtype=torch.uint8, generator=draw)
    split = ResidentSplit(
        images, torch.arange(number) % 10, Normalisation(torch.full((1, 1, 1), 1 / 255), torch.zeros(1, 1, 1))
    )
    model = Host.load().models.get("fc")((1, 28, 28), 10)
    masks = {name: torch.rand(p.shape) < 0.1 for name, p in model.named_parameters() if p.dim() > 1}
    streams = Streams(torch.Generator(), torch.Generator())
    return Training(model, masks, RECIPE, Examples(split, None, split.take(torch.arange(100)), None), streams)


def cells() -> Iterator[Point]:
    """Planning 10^2 to 10^5 cells, and dispatching and recording 50 to 800 that end at once."""
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
    """Forty trainings of fc on the digits, six epochs each, with one worker and with two, start excluded."""
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
        executor = LocalExecutor(Resources(Path(folder), "cpu", workers=number), lambda cell, epoch: None)
        for cell in first:
            executor.submit(cell)
        list(executor.finished())  # every worker has begun
        started = time.perf_counter()
        run_plan(Plan(chosen, missing=chosen), Store(Path(folder) / "results"), executor)
        return time.perf_counter() - started
