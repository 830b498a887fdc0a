"""A training step of networks that synflow pruned: dense, masked, and without what nothing reads.

Run as a program it takes the steps in turns and prints ratios, which a busy machine does not spoil.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import cache
from statistics import median

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn

from synflow_bench import prune
from synflow_bench.host import Host
from synflow_bench.metrics import trace
from synflow_bench.shrinking import shrink
from synflow_bench.suites import Recipe
from synflow_bench.training import Examples, Streams, Training
from synflow_bench.training.loop import Batch
from synflow_bench.training.normalisation import Normalisation
from synflow_bench.training.resident import ResidentSplit
from synflow_bench.training.step import TrainingStep

SHAPES = {"lottery/vgg16-bn": (3, 32, 32), "conv": (1, 28, 28)}
CASES = [("lottery/vgg16-bn", 100), ("lottery/vgg16-bn", 1000), ("conv", 100)]
KINDS = ("dense", "masked", "shrunk")
BATCH = 32
RECIPE = Recipe(epochs=1, optimizer="momentum", lr=0.01, weight_decay=1e-4, batch_size=BATCH)


@cache
def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = Host.load().models.get(name)(SHAPES[name], 10)
    return model


@cache
def masks_of(name: str, compression: int) -> Mapping[str, Tensor]:
    return prune(network(name), "synflow", compression=compression, input_shape=SHAPES[name])


def step_of(kind: str, name: str, compression: int) -> Callable[[], object]:
    """A step of one kind of training, on noise."""
    model, shape = deepcopy(network(name)), SHAPES[name]
    masks = masks_of(name, compression) if kind != "dense" else {}
    if kind == "shrunk":
        small = shrink(model, masks, trace(model, torch.zeros(1, *shape)), shape)
        assert small is not None
        model, masks = small.model, small.masks
    scale = Normalisation(torch.ones(1, 1, 1), torch.zeros(1, 1, 1))
    split = ResidentSplit(torch.zeros(2, *shape, dtype=torch.uint8), torch.arange(2), scale)
    streams = Streams(torch.Generator(), torch.Generator())
    step = TrainingStep.of(
        Training(model.train(), masks, RECIPE, Examples(split, None, split, None), streams)
    )
    batch = Batch(torch.randn(BATCH, *shape), torch.arange(BATCH) % 10, 0.01)
    return lambda: step([batch])


@pytest.mark.parametrize(("name", "compression"), CASES)
@pytest.mark.parametrize("kind", KINDS)
def bench_step(benchmark: BenchmarkFixture, one_thread: None, kind: str, name: str, compression: int) -> None:
    benchmark.group = f"a training step of {name}, compression {compression}, batch {BATCH}, one thread"
    benchmark.pedantic(step_of(kind, name, compression), rounds=10, warmup_rounds=2)


def ratios(name: str, compression: int, rounds: int = 15) -> dict[str, float]:
    """The median time of each kind of step as a share of the dense one's, taken in turns."""
    steps = {kind: step_of(kind, name, compression) for kind in KINDS}
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for turn in range(rounds + 2):
        for kind, step in steps.items():
            started = time.perf_counter()
            step()
            if turn >= 2:
                seconds[kind].append(time.perf_counter() - started)
    dense = median(seconds["dense"])
    return {kind: median(taken) / dense for kind, taken in seconds.items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name, compression in CASES:
        shares = ", ".join(f"{kind} {share:.2f}" for kind, share in ratios(name, compression).items())
        print(f"{name}, compression {compression}: {shares}")
