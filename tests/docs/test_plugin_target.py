"""`make plugin`, which the reusable workflow calls: a plugin's wheel in an environment of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from clean_environment import CleanEnvironment, build_wheel
from pages import ROOT

EXAMPLE = ROOT / "examples" / "synflow-bench-gradnorm"
QUICKLY = "--pruner gradnorm --pruner random --epochs 1 --seeds 1 --compression 10 --executor serial"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> CleanEnvironment:
    folder = tmp_path_factory.mktemp("plugin-target")
    environment = CleanEnvironment.make(folder / "environment")
    environment.install(build_wheel(ROOT, folder))
    (environment.folder / ".installed").touch()
    return environment


def make(environment: CleanEnvironment, plugin: Path, board: Path, **variables: str) -> str:
    """Run the target; what is installed comes from here alone."""
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "OMP_NUM_THREADS": "1"}
    given = {**os.environ, **offline, "PLUGIN": str(plugin), "BOARD": str(board), **variables}
    done = subprocess.run(
        ["make", "-C", str(ROOT), "plugin", f"VENV={environment.folder}"],
        env=given,
        capture_output=True,
        text=True,
        timeout=540,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_installs_checks_runs_and_writes_a_board(environment: CleanEnvironment, tmp_path: Path) -> None:
    wheel, board = build_wheel(EXAMPLE, tmp_path), tmp_path / "a board"
    output = make(environment, wheel, board, NAME="gradnorm", RUN=QUICKLY)
    assert "exact-density" in output
    assert "| gradnorm" in (board / "board.md").read_text(encoding="utf-8")
    assert len(list(board.glob("results/records/*/*/*/*.json"))) == 3


def test_without_options_it_runs_the_plugin_beside_four_others() -> None:
    command = ["make", "-C", str(ROOT), "-n", "plugin", "NAME=gradnorm"]
    output = subprocess.run(
        command, env={**os.environ, "RUN": ""}, capture_output=True, text=True, check=True
    )
    assert 'run --pruner "gradnorm" --pruner magnitude --pruner snip --pruner synflow' in output.stdout
