"""A process that runs cells keeps the memory that tensors free; results are the same with it and without."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest
import torch

from synflow_bench.training import process

STEPS = """
import resource
import torch
from synflow_bench.training.process import keep_freed_memory

torch.set_num_threads(1)
kept = {keep} and keep_freed_memory()

def step():
    return float(torch.arange(1 << 24, dtype=torch.float32).log1p_().sqrt().sum())  # two of 64 MiB

for _ in range(5):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
sums = [step() for _ in range(10)]
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, *set(sums))
"""


def steps(*, keep: bool) -> tuple[bool, int, str]:
    """Whether memory was kept, the page faults of ten steps, and what came of them."""
    command = [sys.executable, "-c", STEPS.format(keep=keep)]
    kept, faults, *sums = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return kept == "True", int(faults), " ".join(sums)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_freed_memory_is_used_again_to_the_same_results() -> None:
    kept, few, result = steps(keep=True)
    _, many, same = steps(keep=False)
    assert kept
    assert few < many / 20
    assert result == same


def test_another_c_library_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert not process.keep_freed_memory()


def test_a_process_on_another_device_keeps_its_allocator(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    monkeypatch.setattr(process, "make_repeatable", lambda *_: called.append("repeatable"))
    monkeypatch.setattr(process, "keep_freed_memory", lambda: called.append("memory"))
    process.set_up_process(torch.device("meta"), 1)
    assert called == ["repeatable"]
    process.set_up_process(torch.device("cpu"), 1)
    assert called == ["repeatable", "repeatable", "memory"]


def test_every_pool_gets_the_threads_of_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(variable, raising=False)
    environment = process.thread_environment(3)
    spins = environment.pop("GOMP_SPINCOUNT")
    assert int(spins) > 0
    assert environment == dict.fromkeys(["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"], "3")


@pytest.mark.parametrize("said", ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"])
def test_how_threads_wait_stays_as_somebody_has_said(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv(said, "0")
    assert "GOMP_SPINCOUNT" not in process.thread_environment(2)
