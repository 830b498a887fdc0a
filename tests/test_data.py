"""The data folder, and the command that fetches datasets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest

from synflow_bench.data import default_data_root, download_command


def test_the_environment_names_the_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SYNFLOW_BENCH_DATA", str(tmp_path))
    assert default_data_root() == tmp_path


def test_tests_leave_the_folder_of_the_user_alone(data_folder: Path) -> None:
    assert default_data_root() == data_folder
    assert not data_folder.is_relative_to(platformdirs.user_data_path("synflow-bench", appauthor=False))


@pytest.mark.parametrize("empty", [True, False])
def test_without_it_the_folder_is_that_of_the_user(empty: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SYNFLOW_BENCH_DATA", raising=False)
    if empty:
        monkeypatch.setenv("SYNFLOW_BENCH_DATA", "")
    assert default_data_root() == platformdirs.user_data_path("synflow-bench", appauthor=False) / "data"


def test_the_command_names_the_folder_where_it_must(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SYNFLOW_BENCH_DATA", str(tmp_path))
    assert download_command(tmp_path, "a", "b") == "synflow-bench data download a b"
    assert download_command(Path("my data"), "a") == "synflow-bench data download a --data 'my data'"


def test_imports_no_torch() -> None:
    code = "import sys, synflow_bench.data; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
