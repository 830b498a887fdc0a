"""What pruning large networks costs: through the harness, as a worker does it, and as the formula reads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prune_alone import COMPRESSION, Pruning
from pytest_benchmark.fixture import BenchmarkFixture

from synflow_bench.training import thread_environment

SCRIPT = Path(__file__).with_name("prune_alone.py")
ROUNDS = 2
"""Of `synflow`, where nothing is timed."""


class ToldSeconds:
    """A timer that goes on by what other processes say that they took."""

    now = 0.0

    def __call__(self) -> float:
        """The seconds told so far."""
        return self.now

    def run(self, way: str, pruner: str, network: str, threads: int) -> None:
        """Run `prune_alone.py` and go on by the seconds that it prints."""
        command = [sys.executable, str(SCRIPT), way, pruner, network, str(threads)]
        environment = os.environ | (thread_environment(threads) if way == "harness" else {})
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        self.now += float(done.stdout)


TOLD = ToldSeconds()


@pytest.mark.benchmark(timer=TOLD)
@pytest.mark.parametrize("way", ["formula", "harness"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("pruner", "network"),
    [
        ("synflow", "lottery/vgg16-bn"),
        ("synflow", "tinyimagenet/resnet18"),
        ("snip", "lottery/vgg16-bn"),
        ("grasp", "lottery/vgg16-bn"),
    ],
)
def bench_pruning(
    benchmark: BenchmarkFixture, pruner: str, network: str, threads: int, way: str, timed: bool
) -> None:
    """In a process of its own; where nothing is timed, whether both ways keep the same on a small network."""
    if timed:
        benchmark.group = f"{pruner}, {network}, compression {COMPRESSION}, {threads} threads"
        benchmark.pedantic(TOLD.run, (way, pruner, network, threads), rounds=1)
        return
    pruning = Pruning(pruner, "lottery/resnet20", rounds=ROUNDS)
    ours, theirs = benchmark.pedantic(lambda: (pruning.by_the_harness(), pruning.by_the_formula()))
    differing = sum(int((ours[name] != theirs[name].bool()).sum()) for name in ours)
    assert differing <= 0.001 * sum(mask.numel() for mask in ours.values()), "near-ties alone may differ"
