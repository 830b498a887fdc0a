"""`run --log NAME=TARGET`: loggers that are switched on by name; what one does wrong never harms the run."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]

RAISING = """
    @hookimpl
    def synflow_bench_run_started(run): raise ValueError("at the start")
    @hookimpl
    def synflow_bench_epoch_finished(cell, epoch): raise OSError("disk full")
    @hookimpl
    def synflow_bench_cell_finished(record): 1 / 0
    @hookimpl
    def synflow_bench_run_finished(run): raise SystemExit(3)
"""
LOGGERS = """
    class Diary:
        def __init__(self, target, results):
            self.lines = open(target, "a")
        @hookimpl
        def synflow_bench_run_started(self, run): print("started", run.cells, file=self.lines)
        @hookimpl
        def synflow_bench_epoch_finished(self, cell, epoch): print(cell.row, epoch.epoch, file=self.lines)
        @hookimpl
        def synflow_bench_cell_finished(self, record): print(record.cell.row, record.status, file=self.lines)
        @hookimpl
        def synflow_bench_run_finished(self, run):
            print("finished", run.ok, file=self.lines)
            self.lines.close()
    def raising(target, results): raise OSError("no room")
    class Deaf:
        def __init__(self, target, results): ...
    class Misspelt(Deaf):
        @hookimpl
        def synflow_bench_cell_finish(self, record): ...
    @hookimpl
    def synflow_bench_loggers():
        return {"diary": Diary, "raising": raising, "deaf": Deaf, "misspelt": Misspelt}
"""

pytestmark = pytest.mark.usefixtures("torch_as_it_was")


@pytest.fixture
def run(invoke: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, executor: str = "serial") -> Any:
        small = ["--pruner", "random", "--compression", "10", "--seeds", "1", "--epochs", "1"]
        return invoke("run", *small, "--results", "results", "--executor", executor, *arguments)

    return run


@pytest.mark.parametrize(
    "executor",
    [
        pytest.param(["serial"], id="serial"),
        pytest.param(["local", "--workers", "1"], id="local", marks=pytest.mark.slow),
    ],
)
def test_a_plugin_that_raises_in_each_hook_is_told_once_for_each_and_harms_nothing(
    run: Run, distribution: Any, executor: list[str]
) -> None:
    distribution("raising-logger", RAISING)
    distribution("own-logger", LOGGERS)
    outcome = run("--json", *executor[1:], "--log", "diary=diary.txt", executor=executor[0])
    assert outcome.code == 0
    assert {cell["status"] for cell in json.loads(outcome.out)["cells"]} == {"ok"}
    told = [line for line in outcome.err.splitlines() if line.startswith("warning: ")]
    title = "warning: plugin 'raising_logger' of raising-logger 1.0 raised in synflow_bench_"
    assert told == [
        f"{title}run_started: ValueError: at the start; the run goes on",
        f"{title}epoch_finished: OSError: disk full; the run goes on",
        f"{title}cell_finished: ZeroDivisionError: division by zero; the run goes on",
        f"{title}run_finished: SystemExit: 3; the run goes on",
    ]
    started, *told_of_cells, finished = Path("diary.txt").read_text().splitlines()
    assert (started, finished) == ("started 2", "finished 2")
    assert len(told_of_cells) == 6
    for row in ("dense", "random"):
        assert [line for line in told_of_cells if row in line] == [f"{row} 0", f"{row} 1", f"{row} ok"]


def test_several_loggers_write_beside_each_other(run: Run, distribution: Any) -> None:
    distribution("own-logger", LOGGERS)
    assert run("--log", "csv", "--log", "csv=elsewhere", "--log", "diary=diary.txt").code == 0
    for folder in (Path("results/logs/csv"), Path("elsewhere")):
        with (folder / "epochs.csv").open(newline="") as lines:
            rows = [(line["row"], line["epoch"]) for line in csv.DictReader(lines)]
        assert rows == [("dense", "0"), ("dense", "1"), ("random", "0"), ("random", "1")]
    assert Path("diary.txt").exists()


def test_without_the_option_nothing_is_logged(run: Run) -> None:
    assert run().code == 0
    assert not Path("results/logs").exists()


def test_loggers_are_listed_with_their_distributions(invoke: Run, distribution: Any) -> None:
    distribution("own-logger", LOGGERS)
    entries = json.loads(invoke("list", "loggers", "--json").out)
    found = {entry["name"]: entry["distribution"] for entry in entries}
    assert found["diary"] == "own-logger"
    assert {found[name] for name in ("csv", "tensorboard", "wandb")} == {"synflow-bench"}


@pytest.mark.parametrize(
    ("logger", "message"),
    [
        ("csw=logs", "unknown logger 'csw'; did you mean 'csv'?"),
        ("=logs", "unknown logger ''; known: "),
        ("csv=afile", "logger 'csv' cannot write to 'afile': File exists"),
        ("raising", "logger 'raising' of own-logger 1.0 cannot be made: OSError: no room"),
        ("deaf=x", "logger 'deaf=x' of own-logger 1.0: it implements no hook; known: "),
        (
            "misspelt",
            "logger 'misspelt' of own-logger 1.0: unknown hook 'synflow_bench_cell_finish'",
        ),
    ],
)
def test_a_logger_that_cannot_be_had_is_one_line_before_anything_runs(
    run: Run, distribution: Any, logger: str, message: str
) -> None:
    distribution("own-logger", LOGGERS)
    Path("afile").touch()
    outcome = run("--log", logger)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"error: {message}")
    assert outcome.err.count("\n") == 1
    assert not Path("results").exists()


def test_a_dry_run_refuses_to_log(run: Run) -> None:
    outcome = run("--dry-run", "--log", "csv")
    assert (outcome.code, outcome.err) == (
        2,
        "error: --dry-run logs nothing; leave out --log, or --dry-run\n",
    )
