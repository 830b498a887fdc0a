"""Training steps and evaluations of `conv` on 28x28, with freed memory kept or returned to the system.

`python benchmarks/bench_memory.py kept` (or `given-back`) prints the processor milliseconds of a step of 64
images and of an evaluation of 4,000, in float32 on one thread, each in the process that it is measured in.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import pytest

WAYS = ["kept", "given-back"]


def measure(way: str, times: int) -> tuple[float, float]:
    """Return the median processor milliseconds of a training step and of an evaluation."""
    import torch

    from synflow_bench.host import Host
    from synflow_bench.training import keep_freed_memory

    torch.set_num_threads(1)
    if way == "kept":
        keep_freed_memory()
    model = Host.load().models.get("conv")((1, 28, 28), 10)
    images, labels = torch.randn(4000, 1, 28, 28), torch.arange(64) % 10
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        torch.nn.functional.cross_entropy(model(images[:64]), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    @torch.no_grad()
    def evaluate() -> None:
        for part in images.split(1000):
            model(part)

    return _milliseconds(step, 4 * times), _milliseconds(evaluate, times)


def _milliseconds(work: Callable[[], None], times: int) -> float:
    spent = []
    for _ in range(1 + times):
        started = time.process_time()
        work()
        spent.append(1000 * (time.process_time() - started))
    return median(spent[1:])


@pytest.mark.benchmark(group="conv, fp32: memory that is freed")
@pytest.mark.parametrize("way", WAYS)
def bench_memory(benchmark: Any, way: str, request: pytest.FixtureRequest) -> None:
    times = 8 if request.config.getoption("--benchmark-enable") else 1
    command = [sys.executable, __file__, way, str(times)]
    done = benchmark.pedantic(
        subprocess.run, (command,), {"check": True, "capture_output": True, "text": True}, rounds=1
    )
    step, evaluation = map(float, done.stdout.split())
    benchmark.extra_info["milliseconds per training step"] = step
    benchmark.extra_info["milliseconds per evaluation"] = evaluation
    assert step > 0


if __name__ == "__main__":
    print(*measure(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 8))
