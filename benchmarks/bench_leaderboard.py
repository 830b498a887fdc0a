"""The leaderboard of many records: reading and aggregating 100,000, and the whole command on 1,000."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from synthetic import write_records

from synflow_bench.cli._leaderboard import Request

MANY, FEW = 100_000, 1000


@pytest.fixture(scope="module")
def results(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], Path]:
    """A folder with so many records; few of them where nothing is timed."""
    timed = request.config.getoption("--benchmark-enable")

    def results(count: int) -> Path:
        root = tmp_path_factory.mktemp("results")
        write_records(root, count if timed else 20)
        return root

    return results


@pytest.mark.benchmark(group="leaderboard of 100,000 records")
def bench_building_from_many_records(benchmark: Any, results: Callable[[int], Path]) -> None:
    request = Request(results(MANY), "json")
    page = benchmark.pedantic(request.page, rounds=2)
    assert page.boards
    benchmark.extra_info["MiB, largest of the process"] = (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    )


@pytest.mark.benchmark(group="leaderboard command on 1,000 records")
def bench_the_whole_command(benchmark: Any, results: Callable[[int], Path]) -> None:
    command = [sys.executable, "-m", "synflow_bench", "leaderboard", "--results", str(results(FEW))]
    done = benchmark.pedantic(
        subprocess.run, (command,), {"capture_output": True, "check": False}, rounds=7, warmup_rounds=1
    )
    assert done.returncode == 0
