"""What the harness costs a cell, where the cell itself costs nothing, and a run that has nothing to do."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from harness import dispatch_seconds, plan_seconds, recorded_run

from synflow_bench.host import Host


@pytest.fixture(scope="module")
def host() -> Host:
    return Host.load()


@pytest.mark.benchmark(group="planning, processor time", timer=time.process_time)
def bench_planning(benchmark: Any, host: Host, timed: bool, tmp_path: Path) -> None:
    count = 100_000 if timed else 200
    planned, seconds = benchmark.pedantic(plan_seconds, (count, host, tmp_path), rounds=3)
    assert planned == pytest.approx(count, rel=0.02)
    benchmark.extra_info["microseconds a cell"] = round(seconds / planned * 1e6, 1)


@pytest.mark.benchmark(group="dispatch and record, wall time")
def bench_cells_that_end_at_once(benchmark: Any, host: Host, timed: bool, tmp_path: Path) -> None:
    count = 400 if timed else 5
    seconds = benchmark.pedantic(dispatch_seconds, (count, host, tmp_path), rounds=1)
    benchmark.extra_info["milliseconds a cell"] = round(seconds / (count - 1) * 1e3, 2)


@pytest.mark.benchmark(group="a run with everything recorded")
@pytest.mark.parametrize("torch_only", [False, True], ids=["run", "loading torch alone"])
def bench_a_run_with_nothing_to_do(benchmark: Any, torch_only: bool) -> None:
    seconds = benchmark.pedantic(recorded_run, kwargs={"torch_only": torch_only}, rounds=3)
    benchmark.extra_info["processor seconds of the last"] = round(seconds, 2)
