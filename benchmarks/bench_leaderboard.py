"""The leaderboard of many records: reading and aggregating 100,000, and the whole command on 1,000."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from limits import check_memory, check_seconds
from synthetic import write_records

from synflow_bench.cli import main

MANY, FEW = 100_000, 1000
SECONDS, MIB = 10, 1024
"""The limits for a board of 100,000 records."""


@pytest.fixture(scope="module")
def results(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], Path]:
    """Return a function that writes a folder of records, of only 20 if nothing is timed."""
    timed = request.config.getoption("--benchmark-enable")

    def results(count: int) -> Path:
        root = tmp_path_factory.mktemp("results")
        write_records(root, count if timed else 20)
        return root

    return results


# Processor time, because other work on the machine must not break a limit.
@pytest.mark.benchmark(group="leaderboard of 100,000 records", timer=time.process_time)
def bench_building_from_many_records(benchmark: Any, results: Callable[[int], Path], tmp_path: Path) -> None:
    root, board = results(MANY), tmp_path / "board.json"
    arguments = ["leaderboard", "--results", str(root), "--output", str(board), "--force", "--format", "json"]
    assert benchmark.pedantic(main, (arguments,), rounds=2) == 0
    assert json.loads(board.read_text())
    check_seconds(benchmark, SECONDS)
    check_memory(benchmark, [*_command(root), "--format", "json"], MIB)


@pytest.mark.benchmark(group="leaderboard command on 1,000 records")
def bench_the_whole_command(benchmark: Any, results: Callable[[int], Path]) -> None:
    command = _command(results(FEW))
    done = benchmark.pedantic(
        subprocess.run, (command,), {"capture_output": True, "check": False}, rounds=7, warmup_rounds=1
    )
    assert done.returncode == 0


def _command(results: Path) -> list[str]:
    return [sys.executable, "-m", "synflow_bench", "leaderboard", "--results", str(results)]
