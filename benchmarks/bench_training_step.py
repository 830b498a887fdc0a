"""Training steps: masks and ways to apply them, several networks in one batch, and pruned networks compacted.

`python benchmarks/bench_training_step.py` takes steps of dense, masked and compacted networks in turn, and of
convolutional networks as one and one by one, and prints ratios of processor time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from statistics import median

import pytest
import torch
from conventional import masked_forward
from conventional import network as perceptron
from made_up_data import FewMadeUp
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from synflow_bench import prune
from synflow_bench.compaction import compact
from synflow_bench.graph import trace
from synflow_bench.host import Host
from synflow_bench.suites import Recipe
from synflow_bench.training import (
    Batch,
    BatchedStep,
    LoadedData,
    Streams,
    Training,
    TrainingData,
    TrainingStep,
    VmappedStep,
)

RECIPE = Recipe(epochs=1, optimizer="adam", lr=1e-3, batch_size=64)
MOMENTUM = Recipe(epochs=1, optimizer="momentum", lr=0.01, weight_decay=1e-4, batch_size=32)
SHAPE = (1, 28, 28)
NETWORKS = 8
SHAPES = {"lottery/vgg16-bn": (3, 32, 32), "lottery/resnet20": (3, 32, 32), "conv": SHAPE}
CONVOLUTIONAL = ("conv", "lottery/resnet20")
GROUPED = 4
CASES = [("lottery/vgg16-bn", 100), ("lottery/vgg16-bn", 1000), ("conv", 100)]
KINDS = ("dense", "masked", "compacted")


def training_of(
    model: nn.Module, masks: Mapping[str, Tensor], recipe: Recipe, shape: tuple[int, int, int]
) -> Training:
    """Return a training of `model` on its device, with examples that no step reads."""
    fields = {"input_shape": shape, "mean": shape[0] * (0.5,), "std": shape[0] * (0.25,)}
    device = next(model.parameters()).device
    split = LoadedData.load(type("Noise", (FewMadeUp,), fields)(), Path(), device).train
    streams = Streams(torch.Generator(), torch.Generator())
    return Training(model, masks, recipe, TrainingData(split, None, split, None), streams)


def batch_of(recipe: Recipe, shape: tuple[int, int, int]) -> Batch:
    """Return a batch of noise."""
    size = recipe.batch_size
    return Batch(torch.randn(size, *shape), torch.arange(size) % 10, recipe.lr)


def random_masks(model: nn.Module) -> dict[str, Tensor]:
    """Return masks that keep a tenth of the weights."""
    draw = torch.Generator().manual_seed(0)
    return {n: torch.rand(p.shape, generator=draw) < 0.1 for n, p in model.named_parameters() if p.dim() > 1}


def masked_step(way: str) -> Callable[[], object]:
    """Return a step of a perceptron with masks on gradients and weights, in the forward pass, or nowhere."""
    model, batch = perceptron(), batch_of(RECIPE, SHAPE)
    masks = random_masks(model)
    if way != "forward pass":
        kept = masks if way == "gradients and weights" else {}
        ours = TrainingStep.of(training_of(model, kept, RECIPE, SHAPE))
        return lambda: ours([batch])
    floats = {name: mask.float() for name, mask in masks.items()}
    optimizer = torch.optim.Adam(model.parameters(), lr=RECIPE.lr, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        loss = cross_entropy(masked_forward(model, floats, batch.inputs), batch.labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


@pytest.mark.benchmark(group="masked training step, perceptron, batch 64")
@pytest.mark.parametrize("way", ["gradients and weights", "forward pass", "no masks"])
def bench_masks(benchmark: BenchmarkFixture, one_thread: None, way: str) -> None:
    benchmark.pedantic(masked_step(way), rounds=200, iterations=5, warmup_rounds=20)


def trainings() -> list[Training]:
    """Return trainings of `fc` that can be batched."""
    models = [Host.load().models.get("fc")(SHAPE, 10) for _ in range(NETWORKS)]
    return [training_of(model, random_masks(model), RECIPE, SHAPE) for model in models]


@pytest.mark.benchmark(group="a step of eight fc, one thread")
@pytest.mark.parametrize("count", [1, 2, 4, 8])
def bench_networks_in_one_batch(benchmark: BenchmarkFixture, one_thread: None, count: int) -> None:
    made = trainings()
    steps = [BatchedStep(made[start : start + count]) for start in range(0, NETWORKS, count)]
    batches = [batch_of(RECIPE, SHAPE) for _ in range(count)]
    benchmark.pedantic(lambda: [step(batches) for step in steps], rounds=60, warmup_rounds=10)


@pytest.mark.benchmark(group="a step of eight fc, one thread")
def bench_networks_one_by_one(benchmark: BenchmarkFixture, one_thread: None) -> None:
    steps = [TrainingStep.of(training) for training in trainings()]
    batch = batch_of(RECIPE, SHAPE)
    benchmark.pedantic(lambda: [step([batch]) for step in steps], rounds=60, warmup_rounds=10)


def convolutional_step(name: str, *, vmapped: bool) -> Callable[[], object]:
    """Return a step of `GROUPED` networks with masks of their own, as one by `vmap` or one by one."""
    models = [Host.load().models.get(name)(SHAPES[name], 10).train() for _ in range(GROUPED)]
    made = [training_of(model, random_masks(model), RECIPE, SHAPES[name]) for model in models]
    batch = batch_of(RECIPE, SHAPES[name])
    if vmapped:
        step = VmappedStep(made)
        return lambda: step([batch] * GROUPED)
    steps = [TrainingStep.of(training) for training in made]
    return lambda: [step([batch]) for step in steps]


@pytest.mark.parametrize("name", CONVOLUTIONAL)
@pytest.mark.parametrize("vmapped", [True, False], ids=["as one", "one by one"])
def bench_convolutional_networks(
    benchmark: BenchmarkFixture, one_thread: None, name: str, vmapped: bool
) -> None:
    benchmark.group = f"a step of {GROUPED} {name}, one thread"
    benchmark.pedantic(convolutional_step(name, vmapped=vmapped), rounds=5, warmup_rounds=1)


@cache
def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = Host.load().models.get(name)(SHAPES[name], 10)
    return model


@cache
def masks_of(name: str, compression: int) -> Mapping[str, Tensor]:
    return prune(network(name), "synflow", compression=compression, input_shape=SHAPES[name])


def pruned_step(kind: str, name: str, compression: int) -> Callable[[], object]:
    """Return a step of a network that `synflow` pruned: dense, masked, or compacted."""
    model, shape = deepcopy(network(name)), SHAPES[name]
    masks = masks_of(name, compression) if kind != "dense" else {}
    if kind == "compacted":
        small = compact(model, masks, trace(model, torch.zeros(1, *shape)), shape)
        assert small is not None
        model, masks = small.model, small.masks
    step = TrainingStep.of(training_of(model.train(), masks, MOMENTUM, shape))
    batch = batch_of(MOMENTUM, shape)
    return lambda: step([batch])


@pytest.mark.parametrize(("name", "compression"), CASES)
@pytest.mark.parametrize("kind", KINDS)
def bench_pruned_networks(
    benchmark: BenchmarkFixture, one_thread: None, kind: str, name: str, compression: int
) -> None:
    benchmark.group = f"a training step of {name}, compression {compression}, batch 32, one thread"
    benchmark.pedantic(pruned_step(kind, name, compression), rounds=10, warmup_rounds=2)


def ratios(steps: Mapping[str, Callable[[], object]], rounds: int = 15) -> dict[str, float]:
    """Return the median processor time of each kind of step, taken in turns, as a share of the first."""
    seconds: dict[str, list[float]] = {kind: [] for kind in steps}
    for turn in range(rounds + 2):
        for kind, step in steps.items():
            started = time.process_time()
            step()
            if turn >= 2:
                seconds[kind].append(time.process_time() - started)
    first, *_ = (median(taken) for taken in seconds.values())
    return {kind: median(taken) / first for kind, taken in seconds.items()}


def main() -> None:
    """Print the ratios."""
    torch.set_num_threads(1)
    for name, compression in CASES:
        steps = {kind: pruned_step(kind, name, compression) for kind in KINDS}
        shares = ", ".join(f"{kind} {share:.2f}" for kind, share in ratios(steps).items())
        print(f"{name}, compression {compression}: {shares}")
    for name in CONVOLUTIONAL:
        ways = {"one by one": False, "as one": True}
        steps = {way: convolutional_step(name, vmapped=vmapped) for way, vmapped in ways.items()}
        print(f"{GROUPED} {name}: as one {ratios(steps, rounds=5)['as one']:.2f} of one by one")


if __name__ == "__main__":
    main()
