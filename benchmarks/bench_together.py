"""A training step of `fc`: networks one by one, and several as one."""

from __future__ import annotations

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from synflow_bench.host import Host
from synflow_bench.suites import Recipe
from synflow_bench.training import Examples, Streams, Training
from synflow_bench.training.loop import Batch
from synflow_bench.training.normalisation import Normalisation
from synflow_bench.training.resident import ResidentSplit
from synflow_bench.training.step import StackedStep, TrainingStep

RECIPE = Recipe(epochs=1, optimizer="adam", lr=1e-3, batch_size=64)
SHAPE = (1, 28, 28)
NETWORKS = 8


def trainings() -> list[Training]:
    split = ResidentSplit(
        torch.zeros(64, *SHAPE, dtype=torch.uint8),
        torch.arange(64) % 10,
        Normalisation(torch.ones(1, 1, 1), torch.zeros(1, 1, 1)),
    )
    model = Host.load().models.get("fc")
    streams = Streams(torch.Generator(), torch.Generator())
    found = []
    for _ in range(NETWORKS):
        network = model(SHAPE, 10)
        masks = {n: torch.rand(p.shape) < 0.1 for n, p in network.named_parameters() if p.dim() > 1}
        found.append(Training(network, masks, RECIPE, Examples(split, None, split, None), streams))
    return found


@pytest.mark.benchmark(group="a step of eight fc, one thread")
@pytest.mark.parametrize("together", [1, 2, 4, 8])
def bench_steps(benchmark: BenchmarkFixture, one_thread: None, together: int) -> None:
    made = trainings()
    steps = [StackedStep(made[start : start + together]) for start in range(0, NETWORKS, together)]
    batches = [Batch(torch.randn(64, *SHAPE), torch.arange(64) % 10, 1e-3) for _ in range(together)]
    benchmark.pedantic(lambda: [step(batches) for step in steps], rounds=60, warmup_rounds=10)


@pytest.mark.benchmark(group="a step of eight fc, one thread")
def bench_ordinary_steps(benchmark: BenchmarkFixture, one_thread: None) -> None:
    steps = [TrainingStep.of(training) for training in trainings()]
    batch = Batch(torch.randn(64, *SHAPE), torch.arange(64) % 10, 1e-3)
    benchmark.pedantic(lambda: [step([batch]) for step in steps], rounds=60, warmup_rounds=10)
