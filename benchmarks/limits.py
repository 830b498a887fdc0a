"""Limits in seconds and MiB, which are checked only if benchmarks are timed.

`python benchmarks/limits.py COMMAND...` prints the largest resident set of a command in KiB.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any


def check_seconds(benchmark: Any, most: float) -> None:
    """Fail if the quickest round took longer than `most` seconds; without timing, check nothing."""
    if benchmark.stats is not None:
        quickest = benchmark.stats.stats.min
        assert quickest < most, f"{quickest:.2f} s, where the limit is {most:g} s"


def check_memory(benchmark: Any, command: Sequence[str], most: float) -> None:
    """Run `command`, and fail if its process took more than `most` MiB; without timing, only run it."""
    largest = largest_of(command)
    benchmark.extra_info["MiB, largest of its process"] = round(largest)
    if benchmark.stats is not None:
        assert largest < most, f"{largest:.0f} MiB, where the limit is {most:g} MiB"


def largest_of(command: Sequence[str]) -> float:
    """Return the largest resident set of `command` in MiB."""
    # A process starts with the memory of its parent, so the parent must be small.
    measured = [sys.executable, __file__, *command]
    done = subprocess.run(measured, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"the command ended with {done.returncode}: {done.stderr}"
    return int(done.stdout) / 1024


def _print_largest(command: Sequence[str]) -> int:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    print(usage.ru_maxrss)
    return process.returncode


if __name__ == "__main__":
    sys.exit(_print_largest(sys.argv[1:]))
