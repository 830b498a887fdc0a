"""`--plugin FILE`: a local module for one command, in this process and in workers, on record by its hash."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

Run = Callable[..., Any]

MINE = """
    from synflow_bench import Pruner, hookimpl

    class Mine(Pruner):
        needs_data = False
        power: int = 1

        def score(self, problem):
            return {name: weight.abs() ** self.power for name, weight in problem.parameters.items()}

    @hookimpl
    def synflow_bench_pruners():
        return {"mine": "lab_mine:Mine"}
"""

pytestmark = pytest.mark.usefixtures("torch_as_it_was")


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


@pytest.fixture
def run(invoke: Run, tmp_path: Path, mine: Path) -> Run:
    def run(*arguments: str, executor: str = "serial") -> Any:
        small = ["--pruner", "mine", "--compression", "10", "--seeds", "1", "--epochs", "1"]
        place = ["--results", str(tmp_path / "results"), "--executor", executor]
        return invoke("run", *small, *place, "--plugin", str(mine), *arguments)

    return run


def plugins(folder: Path) -> dict[str, str]:
    (path,) = folder.glob("results/records/*/*/mine/*.json")
    found: dict[str, str] = json.loads(path.read_text())["provenance"]["plugins"]
    return found


@pytest.mark.parametrize(
    "executor",
    [
        pytest.param(["serial"], id="serial"),
        pytest.param(["local", "--workers", "1"], id="local", marks=pytest.mark.slow),
    ],
)
def test_it_runs_and_its_hash_is_on_record(run: Run, tmp_path: Path, mine: Path, executor: list[str]) -> None:
    outcome = run(*executor[1:], "--json", executor=executor[0])
    assert outcome.code == 0, outcome.err
    assert plugins(tmp_path)["pruner"] == f"lab_mine.py sha256:{sha256(mine.read_bytes()).hexdigest()}"


def test_its_parameters_are_those_of_its_fields(run: Run) -> None:
    outcome = run("--dry-run", "--json", "--pruner", "mine[power=2|3]")
    rows = [cell["cell"].split(" / ")[2] for cell in json.loads(outcome.out)["cells"]]
    assert rows == ["dense", "mine", "mine[power=2]", "mine[power=3]"]
    wrong = run("--pruner", "mine[pwer=2]")
    assert (wrong.code, wrong.out) == (2, "")
    assert "unknown parameter of pruner 'mine' of lab_mine.py sha256:" in wrong.err
    assert wrong.err.endswith("'pwer'; did you mean 'power'?\n")


def test_cells_of_an_edited_file_are_kept_with_a_warning(run: Run, mine: Path) -> None:
    assert "another version" not in run().err + run().err
    mine.write_text(mine.read_text().replace("weight.abs()", "-weight.abs()"))
    edited = run()
    assert edited.err.startswith(
        f"warning: 1 recorded cell used another version of {str(mine)!r}; --force runs them again, "
        "and so does a higher `revision` in the file\n"
    )
    assert "cells: 0 run, 2 recorded before" in edited.err
    assert "another version" not in run("--force").err + run().err


def test_list_and_plugins_show_it(invoke: Run, mine: Path) -> None:
    (entry,) = [
        entry
        for entry in json.loads(invoke("list", "pruners", "--json", "--plugin", str(mine)).out)
        if entry["name"] == "mine"
    ]
    digits = sha256(mine.read_bytes()).hexdigest()
    assert (entry["distribution"], entry["version"]) == ("lab_mine.py", f"sha256:{digits}")
    shown = invoke("plugins", "--plugin", str(mine)).out.splitlines()[-1].split()
    assert shown == ["lab_mine", "lab_mine.py", f"sha256:{digits[:12]}", "ok", "pruners:", "mine"]
    assert "mine" not in invoke("list", "pruners").out.split()


def test_check_takes_it(invoke: Run, mine: Path) -> None:
    outcome = invoke("check", "mine[power=2]", "--json", "--plugin", str(mine))
    assert outcome.code == 0, outcome.out
    (report,) = json.loads(outcome.out)
    assert (report["kind"], report["name"], report["passed"]) == ("pruner", "mine", True)


def test_several_files_may_be_named(invoke: Run, mine: Path) -> None:
    other = mine.with_name("lab_other.py")
    other.write_text(mine.read_text().replace('"mine"', '"other"').replace("lab_mine", "lab_other"))
    out = invoke("list", "pruners", "--plugin", str(mine), "--plugin", str(other)).out
    assert {"lab_mine:Mine", "lab_other:Mine"} <= set(out.split())


@pytest.mark.parametrize("command", [["run"], ["list", "pruners"]], ids=" ".join)
@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (None, "no plugin file 'lab/lab_broken.py'; --plugin takes the path of a .py file"),
        ("import absent_module", "plugin file 'lab/lab_broken.py': ModuleNotFoundError: No module named"),
        ("x = 1", "plugin file 'lab/lab_broken.py': it implements no hook; known: "),
    ],
)
def test_one_that_cannot_take_part_is_one_line(
    invoke: Run, mine: Path, command: list[str], code: str | None, cause: str
) -> None:
    broken = mine.with_name("lab_broken.py")
    if code is not None:
        broken.write_text(code)
    outcome = invoke(*command, "--plugin", str(mine), "--plugin", str(broken))
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"error: {cause}")
    assert outcome.err.count("\n") == 1


def test_plugins_shows_why_one_cannot_take_part(invoke: Run, mine: Path) -> None:
    mine.write_text("import absent_module")
    outcome = invoke("plugins", "--json", "--plugin", str(mine))
    assert outcome.code == 0
    plugin = json.loads(outcome.out)[-1]
    assert (plugin["plugin"], plugin["status"], plugin["reference"]) == ("lab_mine", "fault", str(mine))
    assert plugin["cause"].startswith("ModuleNotFoundError: No module named 'absent_module'")
