"""Wheels of third parties and a wheel of synflow-bench, in an environment without sources."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from clean_environment import CleanEnvironment, build_wheel

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "synflow-bench-gradnorm"

PYTEST = ("-P", "-m", "pytest", "-q", "-p", "no:cacheprovider")
"""With -P the folder of the sources is not on the path, so that the wheel is tested."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> CleanEnvironment:
    """An environment with the wheel of synflow-bench and no plugin of a third party."""
    folder = tmp_path_factory.mktemp("clean")
    environment = CleanEnvironment.make(folder / "environment")
    environment.install(build_wheel(ROOT, folder))
    return environment


@pytest.fixture(scope="module")
def with_example(environment: CleanEnvironment, tmp_path_factory: pytest.TempPathFactory) -> CleanEnvironment:
    """The same environment with the wheel of the example."""
    environment.install(build_wheel(EXAMPLE, tmp_path_factory.mktemp("example")))
    return environment


def passed(done) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_is_imported_and_its_entry_points_are_used(environment) -> None:
    names = ("synflow_bench", "synflow_bench_pruners", "synflow_bench_models", "synflow_bench_datasets")
    code = "".join(f"import {name}; print({name}.__file__)\n" for name in names)
    files = [Path(line) for line in passed(environment.python("-c", code)).splitlines()]
    assert [file.is_relative_to(environment.site) for file in files] == [True] * len(names)
    plugins = json.loads(passed(environment.synflow_bench("plugins", "--json")))
    ours = [plugin for plugin in plugins if plugin["distribution"] == "synflow-bench"]
    code = "import importlib.metadata as m; print(m.distribution('synflow-bench').locate_file(''))"
    assert Path(passed(environment.python("-c", code)).strip()) == environment.site
    assert len(ours) == len({plugin["plugin"] for plugin in ours})
    assert {plugin["status"] for plugin in plugins} == {"ok"}


@pytest.mark.parametrize(
    ("kind", "run"),
    [
        ("pruner", ["--pruner", "scaffolded-pruner[power=2]"]),
        ("model", ["--pruner", "magnitude", "--model", "scaffolded-model"]),
        ("dataset", ["--pruner", "magnitude", "--dataset", "scaffolded-dataset"]),
    ],
)
def test_a_scaffold_is_built_installed_tested_checked_and_run(kind, run, environment, tmp_path) -> None:
    name = f"scaffolded-{kind}"
    passed(environment.synflow_bench("new-plugin", name, "--kind", kind, "--output", str(tmp_path)))
    project = tmp_path / f"synflow-bench-{name}"
    environment.install(build_wheel(project, tmp_path))
    output = passed(environment.python(*PYTEST, cwd=project))
    assert "failed" not in output
    (report,) = json.loads(passed(environment.synflow_bench("check", name, "--json")))
    assert (report["kind"], report["passed"]) == (kind, True)
    options = ["--epochs", "1", "--seeds", "1", "--compression", "10", "--executor", "serial"]
    done = environment.synflow_bench("run", *run, *options, "--results", str(tmp_path / "results"))
    assert name in passed(done)


def test_the_examples_own_tests_pass_beside_the_wheels(with_example) -> None:
    output = passed(with_example.python(*PYTEST, cwd=EXAMPLE))
    assert "failed" not in output


def test_the_example_keeps_the_contract(with_example) -> None:
    output = passed(with_example.synflow_bench("check", "gradnorm"))
    assert "exact-density" in output
    assert "fail" not in output


def test_run_all_includes_the_example_and_the_board_has_its_row(with_example, tmp_path) -> None:
    suite, results = str(EXAMPLE / "suite.toml"), str(tmp_path / "results")
    options = ["--suite", suite, "--executor", "serial", "--results", results]
    summary = json.loads(passed(with_example.synflow_bench("run", "--all", *options, "--json")))
    assert summary["failed"] == 0
    assert any("gradnorm" in cell["cell"] for cell in summary["cells"])
    board = passed(with_example.synflow_bench("leaderboard", "--results", results, "--format", "csv"))
    assert any("gradnorm" in line.split(",") for line in board.splitlines())
