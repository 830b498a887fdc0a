"""The time of pruning large networks: with synflow-bench in a process like a worker, and by the formula.

`python benchmarks/bench_pruning.py harness synflow lottery/vgg16-bn 2` prints the seconds on two threads. The
network has 100 classes, or the 200 of Tiny ImageNet, and the scoring data are 100 random images.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping

import pytest
import torch
from conventional import grasp_masks, snip_masks, synflow_masks
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn

from synflow_bench import prune
from synflow_bench.host import Host
from synflow_bench.training import set_up_process, thread_environment

COMPRESSION = 10
EXAMPLES = 100


class Pruning:
    """A pruner, `synflow`, `snip` or `grasp`, on a network at initialization."""

    def __init__(self, pruner: str, network: str, rounds: int = 100) -> None:
        tiny = network.startswith("tinyimagenet/")
        self._pruner, self._rounds = pruner, rounds
        self._shape, classes = ((3, 64, 64), 200) if tiny else ((3, 32, 32), 100)
        torch.manual_seed(0)
        self._model: nn.Module = Host.load().models.get(network)(self._shape, classes).eval()
        self._data = torch.randn(EXAMPLES, *self._shape), torch.arange(EXAMPLES) % classes

    def by_the_harness(self) -> Mapping[str, Tensor]:
        """Return the masks of the library."""
        spec = f"synflow[rounds={self._rounds}]" if self._pruner == "synflow" else self._pruner
        return prune(self._model, spec, compression=COMPRESSION, input_shape=self._shape, data=self._data)

    def by_the_formula(self) -> Mapping[str, Tensor]:
        """Return the same masks, except for near-ties, computed as in most research code."""
        names = [name for name, parameter in self._model.named_parameters() if parameter.dim() > 1]
        if self._pruner == "synflow":
            return synflow_masks(self._model, names, self._shape, COMPRESSION, self._rounds)
        formula = {"snip": snip_masks, "grasp": grasp_masks}[self._pruner]
        return formula(self._model, names, *self._data, COMPRESSION)


class PrintedSeconds:
    """A timer that advances by the seconds that other processes print."""

    now = 0.0

    def __call__(self) -> float:
        """Return the sum of the seconds so far."""
        return self.now

    def run(self, way: str, pruner: str, network: str, threads: int) -> None:
        """Prune in a new process, and advance by the seconds that it prints."""
        command = [sys.executable, __file__, way, pruner, network, str(threads)]
        environment = os.environ | (thread_environment(threads) if way == "harness" else {})
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        self.now += float(done.stdout)


PRINTED = PrintedSeconds()


@pytest.mark.benchmark(timer=PRINTED)
@pytest.mark.parametrize("way", ["formula", "harness"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("pruner", "network"),
    [
        ("synflow", "lottery/vgg16-bn"),
        ("synflow", "tinyimagenet/resnet18"),
        ("synflow", "lottery/resnet20"),
        ("snip", "lottery/vgg16-bn"),
        ("grasp", "lottery/vgg16-bn"),
    ],
)
def bench_pruning(
    benchmark: BenchmarkFixture, pruner: str, network: str, threads: int, way: str, timed: bool
) -> None:
    """Time one way; without timing, check on a small network that both ways keep the same weights."""
    if timed:
        benchmark.group = f"{pruner}, {network}, compression {COMPRESSION}, {threads} threads"
        benchmark.pedantic(PRINTED.run, (way, pruner, network, threads), rounds=1)
        return
    pruning = Pruning(pruner, "lottery/resnet20", rounds=2)
    ours, theirs = benchmark.pedantic(lambda: (pruning.by_the_harness(), pruning.by_the_formula()))
    differing = sum(int((ours[name] != theirs[name].bool()).sum()) for name in ours)
    assert differing <= 0.001 * sum(mask.numel() for mask in ours.values()), "only near-ties may differ"


def main(way: str, pruner: str, network: str, threads: int) -> None:
    """Print the seconds of one pruning."""
    torch.set_num_threads(threads)
    if way == "harness":
        set_up_process(torch.device("cpu"), threads)
    pruning = Pruning(pruner, network)
    started = time.perf_counter()
    pruning.by_the_harness() if way == "harness" else pruning.by_the_formula()
    print(time.perf_counter() - started)


if __name__ == "__main__":
    main(*sys.argv[1:4], threads=int(sys.argv[4]))
