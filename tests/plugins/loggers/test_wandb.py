"""The Weights & Biases logger, with a replacement for the service, and offline."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest


class FakeRun:
    """A run that keeps everything it gets."""

    def __init__(self, **settings: Any) -> None:
        self.settings, self.logged, self.summary, self.ended = settings, [], {}, None

    def log(self, values: dict[str, Any]) -> None:
        self.logged.append(values)

    def finish(self, exit_code: int) -> None:
        self.ended = exit_code


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[FakeRun]:
    """The runs that a replacement for wandb has started."""
    begun: list[FakeRun] = []

    def init(**settings: Any) -> FakeRun:
        begun.append(FakeRun(**settings))
        return begun[-1]

    monkeypatch.delenv("WANDB_DIR", raising=False)
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, Settings=dict))
    return begun


def test_a_cell_is_a_run_of_its_project(
    log: Any, make_record: Any, runs: list[FakeRun], results: Path
) -> None:
    record = make_record("synflow[rounds=3]", 10, seed=2, top1=0.75)
    assert log("wandb=mine", record) == []
    (run,) = runs
    assert (run.settings["project"], run.settings["dir"]) == ("mine", str(results / "logs"))
    assert run.settings["name"] == "synflow[rounds=3] / 10 / 2"
    assert run.settings["group"].startswith("digits / fc (")
    assert run.settings["config"]["key"] == record.key
    assert [(point["epoch/epoch"], point["epoch/test_top1"]) for point in run.logged] == [(0, 0.1), (1, 0.75)]
    assert (run.summary["status"], run.summary["test_top1"], run.ended) == ("ok", 0.75, 0)


def test_cells_that_run_at_the_same_time_are_separate_runs(
    log: Any, make_record: Any, runs: list[FakeRun]
) -> None:
    log("wandb", make_record(seed=0), unfinished=(make_record(seed=1), make_record(seed=2)))
    assert [len(run.logged) for run in runs] == [2, 2, 2]
    assert [run.ended for run in runs] == [0, 1, 1]
    assert {run.settings["project"] for run in runs} == {"synflow-bench"}


def test_a_failed_cell_is_a_failed_run(log: Any, make_record: Any, runs: list[FakeRun]) -> None:
    log("wandb", make_record(status="failed", message="no such luck"))
    assert runs[0].summary == {"status": "failed", "error": "no such luck"}
    assert runs[0].ended == 1


def test_files_are_written_to_the_folder_of_the_environment_variable(
    log: Any, make_record: Any, runs: list[FakeRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "elsewhere"))
    log("wandb", make_record())
    assert runs[0].settings["dir"] == str(tmp_path / "elsewhere")


def test_after_one_refusal_no_run_is_opened(
    log: Any, make_record: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = []

    def init(**settings: Any) -> None:
        attempts.append(settings)
        raise ConnectionError("not logged in")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, Settings=dict))
    (line,) = log("wandb", make_record(seed=0), make_record(seed=1))
    assert "logger 'wandb'" in line
    assert "ConnectionError: not logged in" in line
    assert len(attempts) == 1


@pytest.mark.slow
def test_offline_runs_are_written_for_a_later_sync(
    log: Any, make_record: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    record = make_record("snip", 10, seed=2, top1=0.8125)
    assert log("wandb=mine", record) == []
    import_module("wandb").teardown()  # makes its service write, as the end of the process would
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    written = file.read_bytes()
    for text in ("mine", record.key, "epoch/test_top1", "snip / 10 / 2", "0.8125", "test_top1"):
        assert text.encode() in written
