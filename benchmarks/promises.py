"""What the project promises in absolute numbers: held where benchmarks are timed, and nowhere else.

`python benchmarks/promises.py COMMAND...` prints the resident KiB that a command takes at most.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any


def hold_seconds(benchmark: Any, most: float) -> None:
    """Fail where the quickest round took longer than `most` seconds; without timing, nothing is held."""
    if benchmark.stats is not None:
        quickest = benchmark.stats.stats.min
        assert quickest < most, f"{quickest:.2f} s, where less than {most:g} s are promised"


def hold_memory(benchmark: Any, command: Sequence[str], most: float) -> None:
    """Run `command` and fail where its process took more than `most` MiB; without timing, it only runs."""
    largest = largest_of(command)
    benchmark.extra_info["MiB, largest of its process"] = round(largest)
    if benchmark.stats is not None:
        assert largest < most, f"{largest:.0f} MiB, where less than {most:g} MiB are promised"


def largest_of(command: Sequence[str]) -> float:
    """The resident MiB that `command` took at most, in a process of its own."""
    # A process begins with what its parent has taken, so that the parent must be a small one.
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
