"""`new-plugin` writes a whole distribution, or nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from importlib.metadata import distribution

import pytest

from synflow_bench.errors import UsageError
from synflow_bench.scaffold import KINDS, _write, names_of


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_is_written_and_can_be_read(kind, invoke, tmp_path):
    outcome = invoke("new-plugin", "mylab/fast-one", "--kind", kind, "--output", str(tmp_path / "new"))
    assert outcome.code == 0
    folder = tmp_path / "new" / "synflow-bench-mylab-fast-one"
    assert outcome.out.startswith(f"wrote {folder}\n")
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    module = "synflow_bench_mylab_fast_one"
    assert files == {
        "pyproject.toml",
        "README.md",
        ".gitignore",
        ".github/workflows/test.yml",
        f"{module}.py",
        f"tests/test_{module}.py",
    }
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == "synflow-bench-mylab-fast-one"
    assert project["entry-points"]["synflow_bench"] == {module: module}
    code = (folder / f"{module}.py").read_text()
    hooks = [node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)]
    assert f"synflow_bench_{kind}s" in hooks
    assert '"mylab/fast-one"' in code
    workflow = (folder / ".github/workflows/test.yml").read_text()
    assert "python-version: ${{ matrix.python }}\n" in workflow
    for step in ("pytest", "synflow-bench check mylab/fast-one"):
        assert f"      - run: {step}\n" in workflow


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_formatted_and_free_of_faults(kind, invoke, tmp_path):
    invoke("new-plugin", "mine", "--kind", kind, "--output", str(tmp_path))
    for check in (["format", "--check"], ["check", "--select", "E,F,W,B,UP,N,SIM,RUF"]):
        command = [sys.executable, "-m", "ruff", *check, "--isolated", "--line-length", "110", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_a_folder_that_exists_is_left_as_it_is(invoke, tmp_path):
    folder = tmp_path / "synflow-bench-mine"
    folder.mkdir()
    (folder / "work.py").write_text("precious")
    outcome = invoke("new-plugin", "mine", "--output", str(tmp_path))
    assert outcome.code == 2
    assert outcome.err == (
        f"error: {folder} exists, and nothing was written; choose another name or --output\n"
    )
    assert [path.name for path in tmp_path.rglob("*")] == ["synflow-bench-mine", "work.py"]


def test_what_breaks_off_leaves_nothing(invoke, tmp_path, monkeypatch):
    monkeypatch.setitem(_write._FILES, "a\0b", "gitignore.j2")
    with pytest.raises(ValueError, match="null"):
        invoke("new-plugin", "mine", "--output", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["Gradnorm"], "'Gradnorm' is not a name: lower-case letters, digits"),
        (["../x"], "'../x' is not a name: "),
        (["synflow-bench-"], "'synflow-bench-' is not a name: "),
        (["x" * 65], f"'{'x' * 65}' is not a name: "),
        (["dense"], "the pruner name 'dense' stands for the unpruned network; choose another"),
        (
            ["pruners"],
            "the module of 'pruners' would be 'synflow_bench_pruners', synflow-bench's own; choose",
        ),
        (["synflow-bench-models"], "the module of 'models' would be 'synflow_bench_models', synflow-bench's"),
        (["snip"], "pruner 'snip' is taken by synflow-bench "),
        (["digits", "--kind", "dataset"], "dataset 'digits' is taken by synflow-bench "),
        (["mine", "--kind", "suite"], "invalid value for '--kind'"),
        (["mine", "--output", __file__], "invalid value for '--output'"),
    ],
)
def test_what_cannot_be_named_so_is_one_line(arguments, message, invoke, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = invoke("new-plugin", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"error: {message}")
    assert outcome.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_no_package_of_ours_is_hidden():
    packages = {point.module.partition(".")[0] for point in distribution("synflow-bench").entry_points}
    assert len(packages) == 5
    for package in packages - {"synflow_bench"}:
        with pytest.raises(UsageError, match=f"'{package}', synflow-bench's own; choose another name"):
            names_of(package.removeprefix("synflow_bench_"), "pruner")


@pytest.mark.parametrize(
    ("name", "kind", "attribute"),
    [
        ("none", "pruner", "NonePruner"),
        ("pruner", "pruner", "PrunerPruner"),
        ("3d", "dataset", "Dataset3d"),
        ("lambda", "model", "build_lambda"),
        ("synflow-bench-gradnorm", "pruner", "GradnormPruner"),
    ],
)
def test_attributes_are_identifiers_and_no_keywords(name, kind, attribute):
    names = names_of(name, kind)
    assert names.attribute == attribute
    assert names.attribute.isidentifier()
    assert names.module.isidentifier()
    assert names.distribution == f"synflow-bench-{names.plugin}"
