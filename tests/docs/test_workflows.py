"""The workflows call make targets and actions of stated versions, and nothing else."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from pages import ROOT, parse

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PINNED = re.compile(r"[\w-]+/[\w./-]+@(v\d+\.\d+\.\d+|[0-9a-f]{40})")
MAKE = re.compile(r"make (?:-C \w+ )?([a-z-]+)")
READ_HERE = ["bench-smoke", "leaderboard", "site"]

workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def read(path: Path) -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def steps(path: Path) -> Iterator[dict[str, Any]]:
    for job in read(path)["jobs"].values():
        yield from job["steps"]


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))


def test_they_are_the_documented_ones() -> None:
    assert {path.stem for path in WORKFLOWS} == {"benchmarks", "leaderboard", "plugin", "test"}


@workflow
def test_every_step_is_a_make_target_or_an_action(path: Path) -> None:
    for step in steps(path):
        assert ("run" in step) != ("uses" in step)
        if "run" in step:
            match = MAKE.fullmatch(step["run"])
            assert match, f"{step['run']!r} is no make target"
            assert match[1] in targets()


@workflow
def test_actions_are_pinned_by_version(path: Path) -> None:
    assert not [step["uses"] for step in steps(path) if "uses" in step and not PINNED.fullmatch(step["uses"])]


@workflow
def test_nothing_may_write_but_what_says_so(path: Path) -> None:
    found = read(path)
    assert found["permissions"] == {"contents": "read"}
    writers = {name for name, job in found["jobs"].items() if "write" in job.get("permissions", {}).values()}
    assert writers <= {"board", "publish"}
    assert all(job["timeout-minutes"] <= 60 for job in found["jobs"].values())


@workflow
def test_inputs_reach_no_shell_but_by_the_environment(path: Path) -> None:
    assert not [step["run"] for step in steps(path) if "${{" in step.get("run", "")]


def test_a_plugin_can_call_the_reusable_workflow() -> None:
    # `on` without quotes is the boolean of YAML 1.1.
    inputs = read(ROOT / ".github" / "workflows" / "plugin.yml")[True]["workflow_call"]["inputs"]
    page = (ROOT / "docs" / "how-to" / "package-a-plugin.md").read_text(encoding="utf-8")
    given = yaml.safe_load(re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1])["jobs"]["board"]["with"]  # type: ignore[index]
    assert set(given) <= set(inputs)
    assert {name for name, about in inputs.items() if about.get("required")} <= set(given)


def called(path: Path) -> set[str]:
    """The targets that a workflow calls."""
    found = (MAKE.fullmatch(step["run"]) for step in steps(path) if "run" in step)
    return {match[1] for match in found if match}


def run_by_ci() -> set[str]:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    return set(re.findall(r"^make ([a-z-]+)$", script, re.MULTILINE))


def dry_run(target: str) -> list[str]:
    command = ["make", "--dry-run", target, "NAME=snip"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


def printed(target: str) -> list[list[str]]:
    """The commands of ours that a target would run, as words; nothing runs."""
    words = [shlex.split(part) for line in dry_run(target) for part in re.split(r"&&|\|\|", line)]
    return [["synflow-bench", *each[1:]] for each in words if each and each[0].endswith("/synflow-bench")]


def test_ci_runs_what_the_test_workflow_runs() -> None:
    # `make example` runs tests that `make test` runs too; `make advisories` needs the network.
    assert called(WORKFLOWS[-1]) - run_by_ci() == {"example", "advisories"}
    assert run_by_ci() <= targets()


def test_what_other_workflows_run_is_run_by_ci_or_by_a_test() -> None:
    # `plugin` has a test of its own; of the others the tests here read every command.
    others = set().union(*(called(path) for path in WORKFLOWS[:-1])) - run_by_ci()
    assert others == {"plugin", *READ_HERE}


@pytest.mark.parametrize("target", READ_HERE)
def test_commands_that_only_a_workflow_runs_are_accepted(target: str) -> None:
    for words in printed(target):
        parse(words)


def test_the_site_shows_the_boards_and_the_small_one_beside_them() -> None:
    commands = printed("site")
    boards = [options(words) for words in commands if words[1] == "leaderboard"]
    assert {each["--output"]: each["--results"] for each in boards} == {
        "site/leaderboard": "build/site-boards",
        "site/smoke": "leaderboard/smoke/results",
    }
    imported = [words[3] for words in commands if words[1:3] == ["results", "import"]]
    assert imported == ["leaderboard/fashion/records.tar.gz", "leaderboard/cifar10-jpeg/records.tar.gz"]


def test_no_check_removes_the_results_of_a_run() -> None:
    removed = {line for line in dry_run("leaderboard-check") if "rm -rf" in line}
    assert removed == {"rm -rf build/check"}
    for target in ("fashion-board", "photographs-board"):
        assert "build/check" not in "".join(dry_run(target))


def options(words: list[str]) -> dict[str, str]:
    """Options with the word after each."""
    return {word: after for word, after in pairwise(words) if word.startswith("--")}
