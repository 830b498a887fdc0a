"""Limits as users write them, and the memory of processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synflow_bench.errors import UsageError
from synflow_bench.limits import (
    Limits,
    can_measure_memory,
    family_memory,
    format_bytes,
    memory_of,
    out_of_memory_kills,
    parse_bytes,
    parse_seconds,
    processes,
)

needs_proc = pytest.mark.skipif(not can_measure_memory(), reason="this system has no /proc")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("30m", 1800), ("1.5h", 5400), ("2d", 172800), (" 2H ", 7200)],
)
def test_times(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize(
    ("text", "number"), [("7", 7), ("1k", 1024), ("500M", 500 << 20), ("4G", 4 << 30), ("1.5GiB", 3 << 29)]
)
def test_amounts(text: str, number: int) -> None:
    assert parse_bytes(text) == number


@given(st.text())
def test_any_other_text_is_refused_with_an_example(text: str) -> None:
    for parse, example in ((parse_seconds, "30m"), (parse_bytes, "4G")):
        try:
            found, reason = parse(text), ""
        except UsageError as error:
            found, reason = 0, str(error)
        assert found > 0 or example in reason


@given(st.integers(min_value=1 << 20, max_value=1 << 45))
def test_a_formatted_amount_is_read_as_about_the_same(number: int) -> None:
    assert parse_bytes(format_bytes(number)) == pytest.approx(number, rel=0.5)


def test_only_limits_of_workers_need_workers() -> None:
    assert not Limits(max_failures=3).need_workers
    assert Limits(recycle_after=3).need_workers


@needs_proc
def test_memory_is_that_of_the_process_or_of_its_family() -> None:
    mine = psutil.Process().memory_info().rss
    assert memory_of(os.getpid()) == pytest.approx(mine, rel=0.2)
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True) as process:
        while not (children := psutil.Process(process.pid).children()):
            time.sleep(0.02)
        time.sleep(0.3)
        both = family_memory(process.pid, most=2**60)
        assert both > memory_of(process.pid) > 0
        assert (children[0].pid, process.pid, process.pid) in list(processes())
        children[0].kill()
    assert memory_of(process.pid) == 0


BLOCK = 64 << 20
PARENT = f"""
import os, time
block = bytearray(os.urandom({BLOCK}))
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(60)
        os.wait()
        os._exit(0)
print("ready", flush=True)
time.sleep(60)
"""


@needs_proc
def test_the_memory_of_a_family_has_sessions_of_its_own_and_counts_shared_pages_once() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        parent = psutil.Process(process.pid)
        while len(family := [parent, *parent.children(recursive=True)]) < 7:
            time.sleep(0.02)
        resident = sum(each.memory_info().rss for each in family)
        assert family_memory(process.pid, most=2**60) == pytest.approx(resident, rel=0.1)
        assert resident > 7 * BLOCK
        assert BLOCK < family_memory(process.pid, most=BLOCK) < 3 * BLOCK
        for each in family:
            each.kill()


@needs_proc
def test_kills_for_memory_are_counted_or_not_known() -> None:
    found = out_of_memory_kills()
    assert found is None or found >= 0
