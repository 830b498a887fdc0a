"""The wording of messages, pinned in one file.

`wording.txt` holds wrong command lines, each after a `$`, and the message that each prints. After a change
of a message, write the file again and read its diff:

    SYNFLOW_BENCH_WORDING=write python -m pytest tests/cli/test_wording.py

A new command line is added to the file without a message, and written in the same way.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WORDING = Path(__file__).with_name("wording.txt")
LAB = """
    from synflow_bench import Pruner
    from torch import nn
    class Mine(Pruner):
        share: float = 0.5
        def score(self, problem): ...
    class Silent:
        def __init__(self, target, results): ...
    def narrow(input_shape, num_classes):
        return nn.Sequential(nn.Flatten(), nn.Linear(784, num_classes))
    def raising(target, results): raise OSError("no room")
    @hookimpl
    def synflow_bench_pruners(): return {"mine": Mine, "absent": "nowhere_at_all:Absent"}
    @hookimpl
    def synflow_bench_models(): return {"narrow": narrow}
    @hookimpl
    def synflow_bench_loggers(): return {"silent": Silent, "raising": raising}
"""
SUITE = (
    'compressions = [0.1]\nseeds = 1\nsettings = [{dataset = "digits", model = "fc", recipe = {lr = 0}}]\n'
)


def test_every_message_is_the_pinned_one(
    invoke: Callable[..., Any], distribution: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    distribution("lab", LAB)
    files = {"faulty.toml": SUITE, "empty.py": "", "file": "", "results/store.json": '{"schema": 99}'}
    for name, content in files.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(content)
    before = sorted(work.rglob("*"))
    pinned = WORDING.read_text(encoding="utf-8")
    lines = [line for line in pinned.splitlines() if line.startswith("$ ")]
    found = "\n".join(f"{line}\n{message(invoke, line)}" for line in lines)
    assert sorted(work.rglob("*")) == before
    if os.environ.get("SYNFLOW_BENCH_WORDING") == "write":
        WORDING.write_text(found, encoding="utf-8")
    assert found == WORDING.read_text(encoding="utf-8")


def message(invoke: Callable[..., Any], line: str) -> str:
    """Run a command line such as `$ synflow-bench list`, and return its message."""
    outcome = invoke(*shlex.split(line)[2:])
    assert (outcome.code, outcome.out) == (2, ""), line
    assert outcome.err.count("\n") == 1, line
    text: str = outcome.err
    return text
