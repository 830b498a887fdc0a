"""One wheel holds the harness and the first-party plugins, with all that they read."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.mark.parametrize("package", ["torch", "torchvision"])
def test_torch_has_lower_bounds_only(package: str) -> None:
    requirements = [Requirement(text) for text in PROJECT["dependencies"]]
    (found,) = [requirement for requirement in requirements if requirement.name == package]
    assert {clause.operator for clause in found.specifier} == {">="}
    assert found.url is None


@pytest.mark.slow
def test_the_wheel_is_complete(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--quiet",
        "--wheel-dir",
        str(tmp_path),
        ".",
    ]
    subprocess.run(command, cwd=ROOT, check=True)
    (wheel,) = tmp_path.glob("synflow_bench-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (points,) = [name for name in names if name.endswith("entry_points.txt")]
        entry_points = archive.read(points).decode()
    sources = [
        path.relative_to(base).as_posix()
        for base in (ROOT, ROOT / "plugins")
        for package in base.glob("synflow_bench*")
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    assert any(name.endswith("presets/quick.toml") for name in sources)
    assert "synflow_bench/py.typed" in names
    assert set(sources) <= names
    assert "synflow-bench = synflow_bench.__main__:main" in entry_points
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in names)
