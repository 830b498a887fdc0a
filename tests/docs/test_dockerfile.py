"""The Dockerfile: what it copies is there, is enough for its pip commands, and starts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pages import ROOT

TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COPIED = [name for line in re.findall(r"^COPY (.*) \S+$", TEXT, re.MULTILINE) for name in line.split()]


def test_what_it_copies_is_there_and_not_ignored() -> None:
    assert len(COPIED) > 4
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for name in COPIED:
        assert (ROOT / name).exists()
        assert f"!{name}" in allowed


def test_it_takes_a_python_that_the_project_supports() -> None:
    minor = re.search(r"^FROM python:3\.(\d+)", TEXT, re.MULTILINE)
    least = re.search(r'requires-python = ">=3\.(\d+)"', (ROOT / "pyproject.toml").read_text())
    assert minor
    assert least
    assert int(minor[1]) >= int(least[1])


@pytest.mark.slow
def test_its_pip_command_installs_what_it_copies(tmp_path: Path) -> None:
    """In a fresh folder, with the dependencies of this environment."""
    assert 'RUN pip install --no-cache-dir ".[ray]" && synflow-bench --version' in TEXT
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-cache-dir"]
    subprocess.run([*pip, "--target", str(target), f"{source}[ray]"], check=True, capture_output=True)
    program = target / "bin" / "synflow-bench"
    done = subprocess.run(
        [sys.executable, str(program), "list", "pruners"],
        env={**os.environ, "PYTHONPATH": str(target)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "synflow" in done.stdout
