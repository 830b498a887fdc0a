"""100 rounds of SynFlow on lottery/vgg16-bn: through the harness, and as the formula reads."""

from __future__ import annotations

import pytest
import torch
from conventional import synflow_masks
from pytest_benchmark.fixture import BenchmarkFixture
from torch import nn

from synflow_bench import prune
from synflow_bench.host import Host

SHAPE = (3, 32, 32)


def network() -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = Host.load().models.get("lottery/vgg16-bn")(SHAPE, 100)
    return model


@pytest.mark.benchmark(group="synflow, 100 rounds, lottery/vgg16-bn, compression 10")
def bench_through_the_harness(benchmark: BenchmarkFixture, threads: int) -> None:
    model = network()
    masks = benchmark.pedantic(
        prune, (model, "synflow"), {"compression": 10, "input_shape": SHAPE}, rounds=1, warmup_rounds=0
    )
    assert masks.kept == round(masks.size / 10)


@pytest.mark.benchmark(group="synflow, 100 rounds, lottery/vgg16-bn, compression 10")
def bench_the_formula_written_down(benchmark: BenchmarkFixture, threads: int) -> None:
    model = network()
    names = [name for name, p in model.named_parameters() if p.dim() > 1]
    masks = benchmark.pedantic(synflow_masks, (model, names, SHAPE, 10, 100), rounds=1)
    ours = prune(model, "synflow", compression=10, input_shape=SHAPE)
    differing = sum(int((ours[name] != masks[name].bool()).sum()) for name in names)
    assert differing <= 0.05 * ours.kept, "one formula; but near-ties make masks diverge with rounding"
