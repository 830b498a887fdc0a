"""The leaderboard of many records: reading and aggregating 100,000, and the whole command on 1,000."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from promises import hold_memory, hold_seconds
from synthetic import write_records

from synflow_bench.cli._leaderboard import Request

MANY, FEW = 100_000, 1000
SECONDS, MIB = 10, 1024
"""What a board of 100,000 records may take."""


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


# Processor time: what else runs on the machine must not break a promise.
@pytest.mark.benchmark(group="leaderboard of 100,000 records", timer=time.process_time)
def bench_building_from_many_records(benchmark: Any, results: Callable[[int], Path]) -> None:
    root = results(MANY)
    page = benchmark.pedantic(Request(root, "json").page, rounds=2)
    assert page.boards
    hold_seconds(benchmark, SECONDS)
    hold_memory(benchmark, [*_command(root), "--format", "json"], MIB)


@pytest.mark.benchmark(group="leaderboard command on 1,000 records")
def bench_the_whole_command(benchmark: Any, results: Callable[[int], Path]) -> None:
    command = _command(results(FEW))
    done = benchmark.pedantic(
        subprocess.run, (command,), {"capture_output": True, "check": False}, rounds=7, warmup_rounds=1
    )
    assert done.returncode == 0


def _command(results: Path) -> list[str]:
    return [sys.executable, "-m", "synflow_bench", "leaderboard", "--results", str(results)]
