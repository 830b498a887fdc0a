"""The Weights & Biases logger: what it tells the service, by a stand-in, and what it leaves offline."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from synflow_bench.errors import UsageError


class FakeRun:
    """Keeps what it is told."""

    def __init__(self, **settings: Any) -> None:
        self.settings, self.logged, self.summary, self.ended = settings, [], {}, None

    def log(self, values: dict[str, Any]) -> None:
        self.logged.append(values)

    def finish(self, exit_code: int) -> None:
        self.ended = exit_code


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[FakeRun]:
    """The runs that were begun with a stand-in for wandb."""
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


def test_cells_that_run_at_a_time_are_kept_apart(log: Any, make_record: Any, runs: list[FakeRun]) -> None:
    log("wandb", make_record(seed=0), unfinished=(make_record(seed=1), make_record(seed=2)))
    assert [len(run.logged) for run in runs] == [2, 2, 2]
    assert [run.ended for run in runs] == [0, 1, 1]
    assert {run.settings["project"] for run in runs} == {"synflow-bench"}


def test_a_failed_cell_is_a_failed_run(log: Any, make_record: Any, runs: list[FakeRun]) -> None:
    log("wandb", make_record(status="failed", message="no such luck"))
    assert runs[0].summary == {"status": "failed", "error": "no such luck"}
    assert runs[0].ended == 1


def test_its_files_go_where_its_own_variable_says(
    log: Any, make_record: Any, runs: list[FakeRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "elsewhere"))
    log("wandb", make_record())
    assert runs[0].settings["dir"] == str(tmp_path / "elsewhere")


def test_a_service_that_refuses_is_asked_once(
    log: Any, make_record: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def init(**settings: Any) -> None:
        asked.append(settings)
        raise ConnectionError("not logged in")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, Settings=dict))
    (line,) = log("wandb", make_record(seed=0), make_record(seed=1))
    assert line.startswith("logger 'wandb' of synflow-bench ")
    assert line.endswith(
        "raised in synflow_bench_epoch_finished: ConnectionError: not logged in; the run goes on"
    )
    assert len(asked) == 1


def test_without_wandb_it_says_what_to_install(log: Any, without: Any) -> None:
    without("wandb")
    with pytest.raises(UsageError) as caught:
        log("wandb=mine")
    assert str(caught.value) == (
        "logger 'wandb' needs wandb, which is not installed; "
        "pip install 'synflow-bench[wandb]', or leave out --log wandb"
    )


@pytest.mark.slow
def test_offline_it_leaves_a_run_that_can_be_synchronised(
    log: Any, make_record: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    record = make_record("snip", 10, seed=2, top1=0.8125)
    assert log("wandb=mine", record) == []
    import_module("wandb").teardown()  # as the end of the process does: its service writes on its own
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    written = file.read_bytes()
    for text in ("mine", record.key, "epoch/test_top1", "snip / 10 / 2", "0.8125", "test_top1"):
        assert text.encode() in written
