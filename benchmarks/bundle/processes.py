"""Processes with a time limit, which are killed with all that they have started."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TextIO

MARK = "SYNFLOW_BENCH_REPORT"
"""The environment variable by which the processes of a report are known."""
GRACE = 5.0
"""Seconds in which a part may end by itself, once its time is over."""


def run_limited(
    command: Sequence[str], environment: Mapping[str, str], seconds: float, log: TextIO | int, token: str
) -> int | None:
    """Run a command for some seconds at most.

    Returns:
        Its exit code; None if it was killed, with all processes that it has started.
    """
    process = subprocess.Popen(
        command,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    code: int | None = None
    try:
        with suppress(subprocess.TimeoutExpired):
            code = process.wait(max(0.0, seconds - GRACE))
        if process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)
    finally:
        end_all(token, process.pid)
        with suppress(subprocess.TimeoutExpired):  # what hangs in a driver cannot be killed
            process.wait(GRACE)
    return code


def end_all(token: str, group: int | None = None) -> None:
    """Kill a group of processes, and those that have left it: their environment has the token."""
    if group is not None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{MARK}={token}".encode() in (folder / "environ").read_bytes():
                os.kill(int(folder.name), signal.SIGKILL)
