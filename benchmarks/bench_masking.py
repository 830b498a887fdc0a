"""A training step of fc: masks on gradients and weights, against masks multiplied in the forward pass."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from conventional import masked_forward, network
from pytest_benchmark.fixture import BenchmarkFixture
from torch.nn.functional import cross_entropy

from synflow_bench.suites import Recipe
from synflow_bench.training.loop import Batch
from synflow_bench.training.masking import MaskedWeights
from synflow_bench.training.optimizers import build_optimizer
from synflow_bench.training.precision import Precision
from synflow_bench.training.step import TrainingStep

RECIPE = Recipe(epochs=1, optimizer="adam", lr=1e-3, batch_size=64)


@pytest.mark.benchmark(group="masked training step, fc, batch 64")
@pytest.mark.parametrize("way", ["gradients and weights", "forward pass", "no masks"])
def bench_training_step(benchmark: BenchmarkFixture, way: str) -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    benchmark.pedantic(step_of(way), rounds=200, iterations=5, warmup_rounds=20)


def step_of(way: str) -> Callable[[], None]:
    """A training step of fc with masks applied in one of the ways above."""
    draw = torch.Generator().manual_seed(0)
    model = network()
    inputs, labels = torch.randn(64, 1, 28, 28, generator=draw), torch.randint(10, (64,), generator=draw)
    masks = {n: torch.rand(p.shape, generator=draw) < 0.1 for n, p in model.named_parameters() if p.dim() > 1}
    optimizer = build_optimizer(RECIPE, model.parameters())
    if way == "forward pass":
        floats = {name: mask.float() for name, mask in masks.items()}

        def step() -> None:
            optimizer.zero_grad()
            loss = cross_entropy(masked_forward(model, floats, inputs), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    else:
        masked = MaskedWeights(model, masks if way == "gradients and weights" else {})
        ours = TrainingStep(model, optimizer, [masked], RECIPE, Precision("cpu", False, False))

        def step() -> None:
            ours([Batch(inputs, labels, RECIPE.lr)])

    return step
