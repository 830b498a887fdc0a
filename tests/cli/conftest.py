"""Shared fixtures of the command line: small runs in this process, and a plugin file."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

Run = Callable[..., Any]

MINE = """
    from synflow_bench import Pruner, hookimpl

    class Mine(Pruner):
        '''Mine: keep large weights.

        The score is |w|^p.
        '''

        needs_data = False
        power: int = 1

        def score(self, problem):
            return {name: weight.abs() ** self.power for name, weight in problem.parameters.items()}

    @hookimpl
    def synflow_bench_pruners():
        return {"mine": "lab_mine:Mine"}
"""


@pytest.fixture
def run(torch_as_it_was: None, invoke: Run, results: Path, tmp_path: Path) -> Run:
    """Run cells of one seed and one epoch in this process; none of them may print a traceback."""

    def run(*arguments: str, executor: str = "serial") -> Any:
        place = ["--results", str(results), "--data", str(tmp_path / "data"), "--executor", executor]
        outcome = invoke("run", "--epochs", "1", "--seeds", "1", *place, *arguments)
        assert "Traceback" not in outcome.out + outcome.err
        return outcome

    return run


@pytest.fixture
def small(run: Run) -> Run:
    """Run two cells: the dense network, and one pruner at compression 10."""
    return lambda *arguments, pruner="random": run("--pruner", pruner, "--compression", "10", *arguments)


@pytest.fixture
def plan(run: Run) -> Callable[..., list[tuple[str, ...]]]:
    """Plan a run, and return the parts of the titles of its cells: dataset, model, row, compression, seed."""

    def plan(*arguments: str) -> list[tuple[str, ...]]:
        outcome = run("--dry-run", "--json", *arguments)
        assert outcome.code == 0, outcome.err
        return [tuple(cell["cell"].split(" / ")) for cell in json.loads(outcome.out)["cells"]]

    return plan


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A plugin file in a folder below the working one."""
    monkeypatch.chdir(tmp_path)
    path = Path("lab") / "lab_mine.py"
    path.parent.mkdir()
    path.write_text(dedent(MINE))
    yield path
    for name in [name for name in sys.modules if name.startswith("lab_")]:
        del sys.modules[name]
