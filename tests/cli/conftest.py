"""The command line in this process, and in one of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from synflow_bench.cli import main


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code, stdout and stderr."""

    code: int
    out: str
    err: str


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A results folder that is not there yet."""
    return tmp_path / "results"


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run a command in this process: `invoke("list", "pruners")`."""

    def invoke(*arguments: str) -> Outcome:
        capsys.readouterr()
        code = main(arguments)
        return Outcome(code, *capsys.readouterr())

    return invoke


@pytest.fixture
def launch() -> Callable[..., Outcome]:
    """Run a command in a process of its own, in the environment `env`."""

    def launch(*arguments: str, env: dict[str, str] | None = None, code: str = "") -> Outcome:
        start = ["-c", code] if code else ["-m", "synflow_bench"]
        done = subprocess.run(
            [sys.executable, *start, *arguments], env=env, capture_output=True, text=True, timeout=300
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return launch
