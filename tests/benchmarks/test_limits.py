"""Limits in seconds and MiB are checked where benchmarks are timed, and nowhere else."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from limits import check_memory, check_seconds, largest_of

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
NOTHING = [sys.executable, "-c", ""]


def taken(seconds: float | None) -> Any:
    """A stand-in for pytest-benchmark: statistics, or none where nothing is timed."""
    stats = None if seconds is None else SimpleNamespace(stats=SimpleNamespace(min=seconds))
    return SimpleNamespace(stats=stats, extra_info={})


def test_what_takes_too_long_fails_where_it_is_timed() -> None:
    check_seconds(taken(1.9), 2)
    check_seconds(taken(None), 2)
    with pytest.raises(AssertionError, match=r"2\.10 s"):
        check_seconds(taken(2.1), 2)


def test_what_takes_too_much_memory_fails_where_it_is_timed() -> None:
    benchmark = taken(None)
    check_memory(benchmark, NOTHING, 0)
    assert benchmark.extra_info["MiB, largest of its process"] > 0
    check_memory(taken(1.0), NOTHING, 10**6)
    with pytest.raises(AssertionError, match="1 MiB"):
        check_memory(taken(1.0), NOTHING, 1)


def test_the_memory_is_that_of_the_command_alone() -> None:
    large = largest_of([sys.executable, "-c", "bytearray(200 * 2**20)"])
    assert large - largest_of(NOTHING) > 150
    with pytest.raises(AssertionError, match="ended with 3"):
        largest_of([sys.executable, "-c", "raise SystemExit(3)"])


def test_every_benchmark_is_in_the_list() -> None:
    listed = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    names = [path.name for path in BENCHMARKS.glob("bench_*.py")]
    assert not [name for name in names if f"| `{name}` |" not in listed]
