"""`synflow-bench run`: from a suite to records and a leaderboard."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
Plan = Callable[..., list[tuple[str, ...]]]

FLAKY = """
    import os
    from pathlib import Path
    from synflow_bench import Pruner
    FLAG = Path(os.environ.get("FLAKY_FLAG", "/nowhere"))
    class Flaky(Pruner):
        'Fails as long as its flag exists.'
        needs_data = False
        def score(self, problem):
            if FLAG.exists():
                raise RuntimeError("the flag is up")
            return {name: weight.abs() for name, weight in problem.parameters.items()}
    @hookimpl
    def synflow_bench_pruners():
        return {"flaky": Flaky}
"""
EVENTS = """
    EVENTS = []
    @hookimpl
    def synflow_bench_run_started(run): EVENTS.append(("started", run.cells, run.recorded))
    @hookimpl
    def synflow_bench_epoch_finished(cell, epoch): EVENTS.append((cell.row, epoch.epoch))
    @hookimpl
    def synflow_bench_cell_finished(record): EVENTS.append((record.cell.row, record.status))
    @hookimpl
    def synflow_bench_run_finished(run): EVENTS.append(("finished", run.ok, run.failed, run.skipped))
"""
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
    class Silent:
        def __init__(self, target, results): ...
    class Misspelled(Silent):
        @hookimpl
        def synflow_bench_cell_finish(self, record): ...
    @hookimpl
    def synflow_bench_loggers():
        return {"diary": Diary, "raising": raising, "silent": Silent, "misspelled": Misspelled}
"""
EXECUTORS = [
    pytest.param(["serial"], id="serial"),
    pytest.param(["local", "--workers", "1"], id="local", marks=pytest.mark.slow),
]


def records(results: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in results.glob("records/**/*.json")}


def test_it_trains_records_and_prints_the_leaderboard(small: Run, results: Path) -> None:
    outcome = small()
    assert outcome.code == 0
    assert len(records(results)) == 2
    assert outcome.out.startswith("digits / fc")
    assert {"random", "AUC"} <= set(outcome.out.split())
    start, progress, end = outcome.err.splitlines()
    assert "2 cells" in start
    assert progress.startswith("2/2 cells, 0 failed, took 0:")
    assert end == f"done; cells: 2 run, 0 recorded before; records in {results}"


def test_details_print_the_dense_network_the_costs_and_the_definitions(small: Run) -> None:
    summary, details = small().out, small("--details").out
    assert len(details.splitlines()) > len(summary.splitlines())
    rows = {line.split()[0] for line in details.splitlines() if line.strip()}
    assert {"dense", "random"} <= rows
    assert "critical compression" in details
    assert "critical compression" not in summary


def test_a_second_run_does_only_what_is_missing(small: Run, results: Path) -> None:
    small()
    before = records(results)
    again = small()
    assert again.code == 0
    assert again.err.splitlines() == [
        "run: nothing to run, 2 cells recorded before",
        f"done; cells: 0 run, 2 recorded before; records in {results}",
    ]
    assert records(results) == before
    more = small("--compression", "20")
    assert "cells: 1 run, 2 recorded before" in more.err
    assert before.items() <= records(results).items()


def test_json_is_alone_on_stdout_with_accuracies(small: Run, results: Path) -> None:
    outcome = json.loads(small("--json").out)
    assert outcome["results"] == str(results)
    assert (outcome["ok"], outcome["failed"], outcome["recorded"], outcome["skipped"]) == (2, 0, 0, 0)
    assert (outcome["interrupted"], outcome["stopped"]) == (False, None)
    assert [cell["cell"] for cell in outcome["cells"]] == [
        "digits / fc / dense / compression 1 / seed 0",
        "digits / fc / random / compression 10 / seed 0",
    ]
    recorded = {
        name.removesuffix(".json"): json.loads(text)["metrics"]["test_top1"]
        for name, text in records(results).items()
    }
    assert {cell["key"]: cell["test_top1"] for cell in outcome["cells"]} == recorded
    assert all(0 < top1 < 1 for top1 in recorded.values())
    assert {(cell["status"], cell["error"]) for cell in outcome["cells"]} == {("ok", None)}


@pytest.fixture
def flag(tmp_path: Path, distribution: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file; as long as it exists, pruner `flaky` fails."""
    flag = tmp_path / "flag"
    flag.touch()
    monkeypatch.setenv("FLAKY_FLAG", str(flag))
    distribution("flaky-pruner", FLAKY)
    return flag


def test_a_failed_cell_is_run_again_unless_no_retry_is_asked_for(
    small: Run, flag: Path, results: Path
) -> None:
    failed = small(pruner="flaky")
    assert failed.code == 1
    assert "cells: 1 run, 0 recorded before, 1 failed" in failed.err
    before = records(results)
    flag.unlink()
    kept = small("--no-retry-failed", pruner="flaky")
    assert kept.code == 1
    assert "cells: 0 run, 1 recorded before, 1 failed" in kept.err
    assert records(results) == before
    fixed = small(pruner="flaky")
    assert fixed.code == 0
    assert "cells: 1 run, 1 recorded before;" in fixed.err


def test_force_runs_again_and_keeps_the_old_records(small: Run, results: Path) -> None:
    small()
    before = records(results)
    outcome = small("--force")
    assert "cells: 2 run, 0 recorded before" in outcome.err
    assert records(results).keys() == before.keys()
    kept = [path.read_bytes() for path in results.glob("replaced/**/*.json")]
    assert sorted(kept) == sorted(before.values())


def test_every_installed_pruner_runs_unless_others_are_named(plan: Plan, flag: Path, tmp_path: Path) -> None:
    def rows(*options: str) -> set[str]:
        return {row for _, _, row, _, _ in plan(*options)}

    assert rows() == {"dense", "random", "magnitude", "snip", "grasp", "synflow"}, "those of the suite quick"
    suite = tmp_path / "all.toml"
    suite.write_text(
        "compressions = [2]\nseeds = 1\n"
        'settings = [{dataset = "digits", model = "fc", recipe = {epochs = 1}}]\n'
    )
    assert {"flaky", "random", "magnitude", "snip", "grasp", "synflow"} <= rows("--suite", str(suite))
    suite = tmp_path / "mine.toml"
    suite.write_text(
        'compressions = [2]\nseeds = 1\npruners = ["snip", "synflow[rounds=3]"]\n'
        'settings = [{dataset = "digits", model = "fc", recipe = {epochs = 1}}]\n'
    )
    assert rows("--suite", str(suite)) == {"dense", "snip", "synflow[rounds=3]"}
    assert rows("--suite", str(suite), "--pruner", "random") == {"dense", "random"}
    assert {"flaky", "grasp"} <= rows("--suite", str(suite), "--all")


def test_datasets_models_compressions_and_ablations_are_chosen(plan: Plan) -> None:
    choice = ["--dataset", "digits", "--model", "conv", "--compression", "3", "--pruner", "snip"]
    assert set(plan(*choice, "--ablation", "none", "--ablation", "shuffle")) == {
        ("digits", "conv", "dense", "compression 1", "seed 0"),
        ("digits", "conv", "snip", "compression 3", "seed 0"),
        ("digits", "conv", "snip (shuffle)", "compression 3", "seed 0"),
    }


def keys(outcome: Any) -> frozenset[str]:
    assert outcome.code == 0, outcome.err
    return frozenset(cell["key"] for cell in json.loads(outcome.out)["cells"])


def test_options_that_change_the_recipe_change_the_cells(run: Run) -> None:
    def planned(*options: str) -> frozenset[str]:
        return keys(run("--dry-run", "--json", "--pruner", "random", *options))

    changes = [[], ["--precision", "bf16"], ["--set", "recipe.lr=0.5"], ["--set", "pruning.scope=local"]]
    assert len({planned(*options) for options in changes}) == len(changes)
    assert planned("--set", "recipe.epochs=1") == planned()


def test_a_swept_parameter_has_a_row_per_value_on_the_board(run: Run) -> None:
    outcome = run("--compression", "2", "--pruner", "synflow[rounds=1|2]")
    assert outcome.code == 0
    assert {"synflow[rounds=1]", "synflow[rounds=2]"} <= set(outcome.out.split())


def test_iterative_magnitude_pruning_in_two_levels(small: Run, invoke: Run, results: Path) -> None:
    options = ("--protocol", "multishot", "--levels", "2", "--details")
    outcome = small(*options, pruner="magnitude")
    assert outcome.code == 0
    assert outcome.out.startswith("digits / fc / multishot")
    assert "2 levels" in " ".join(outcome.out.split())
    record = next(results.glob("records/**/magnitude/*.json"))
    levels = json.loads(record.read_text())["levels"]
    assert [round(level["density"], 3) for level in levels] == [1, 0.316, 0.1]
    shown = invoke("show", record.stem, "--results", str(results)).out
    assert "levels" in shown
    assert "0.3162" in shown


def test_the_protocol_of_a_suite_can_be_changed_in_part(small: Run, tmp_path: Path) -> None:
    suite = tmp_path / "imp.toml"
    suite.write_text(
        'compressions = [10]\nseeds = 1\n[[settings]]\ndataset = "digits"\nmodel = "fc"\n'
        'recipe = { epochs = 1, optimizer = "adam" }\nprotocol = { name = "multishot", levels = 4 }\n'
    )
    same, written_out, rewound, single = (
        keys(small("--suite", str(suite), "--dry-run", "--json", *more))
        for more in ((), ("--levels", "4", "--rewind", "0"), ("--rewind", "lr"), ("--protocol", "singleshot"))
    )
    assert same == written_out
    assert len(same | rewound | single) == 6


def plugins_of(results: Path) -> dict[str, str]:
    (path,) = results.glob("records/*/*/mine/*.json")
    found: dict[str, str] = json.loads(path.read_text())["provenance"]["plugins"]
    return found


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_plugin_file_runs_and_its_hash_is_recorded(
    small: Run, results: Path, mine: Path, executor: list[str]
) -> None:
    outcome = small("--plugin", str(mine), "--executor", *executor, "--json", pruner="mine")
    assert outcome.code == 0, outcome.err
    assert plugins_of(results)["pruner"] == f"lab_mine.py sha256:{sha256(mine.read_bytes()).hexdigest()}"


def test_the_parameters_of_a_plugin_file_are_its_fields(small: Run, plan: Plan, mine: Path) -> None:
    options = ("--plugin", str(mine), "--compression", "10", "--pruner", "mine", "--pruner")
    rows = [row for _, _, row, _, _ in plan(*options, "mine[power=2|3]")]
    assert rows == ["dense", "mine", "mine[power=2]", "mine[power=3]"]
    small(*options, "mine[pwer=2]").assert_refused("'mine' of lab_mine.py sha256:", "'pwer'", "'power'")


def test_cells_of_an_edited_plugin_file_are_kept_with_a_warning(small: Run, mine: Path) -> None:
    def run(*options: str) -> Any:
        return small("--plugin", str(mine), *options, pruner="mine")

    assert "another version" not in run().err + run().err
    mine.write_text(mine.read_text().replace("weight.abs()", "-weight.abs()"))
    edited = run()
    warning = edited.err.splitlines()[0]
    assert warning.startswith("warning: 1 recorded cell ")
    assert str(mine) in warning
    assert "--force" in warning
    assert "cells: 0 run, 2 recorded before" in edited.err
    assert "another version" not in run("--force").err + run().err


def test_plugins_are_called_as_a_run_goes_on(distribution: Any, small: Run) -> None:
    distribution("a-logger", EVENTS)
    small()
    import a_logger  # type: ignore[import-not-found]

    assert [
        ("started", 2, 0),
        *(("dense", 0), ("dense", 1), ("dense", "ok")),
        *(("random", 0), ("random", 1), ("random", "ok")),
        ("finished", 2, 0, 0),
    ] == a_logger.EVENTS


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_plugin_that_raises_costs_one_warning_per_hook(
    small: Run, distribution: Any, tmp_path: Path, executor: list[str]
) -> None:
    distribution("raising-logger", RAISING)
    distribution("own-logger", LOGGERS)
    diary = tmp_path / "diary.txt"
    outcome = small("--json", "--executor", *executor, "--log", f"diary={diary}")
    assert outcome.code == 0
    assert {cell["status"] for cell in json.loads(outcome.out)["cells"]} == {"ok"}
    warnings = [line for line in outcome.err.splitlines() if line.startswith("warning: ")]
    expected = {
        "run_started": "ValueError: at the start",
        "epoch_finished": "OSError: disk full",
        "cell_finished": "ZeroDivisionError: division by zero",
        "run_finished": "SystemExit: 3",
    }
    for warning, (hook, error) in zip(warnings, expected.items(), strict=True):
        assert "'raising_logger' of raising-logger 1.0" in warning
        assert f"synflow_bench_{hook}" in warning
        assert error in warning
    started, *cells, finished = diary.read_text().splitlines()
    assert (started, finished) == ("started 2", "finished 2")
    assert len(cells) == 6
    for row in ("dense", "random"):
        assert [line for line in cells if row in line] == [f"{row} 0", f"{row} 1", f"{row} ok"]


def test_several_loggers_write_side_by_side(
    small: Run, results: Path, distribution: Any, tmp_path: Path
) -> None:
    distribution("own-logger", LOGGERS)
    elsewhere, diary = tmp_path / "elsewhere", tmp_path / "diary.txt"
    assert small("--log", "csv", "--log", f"csv={elsewhere}", "--log", f"diary={diary}").code == 0
    for folder in (results / "logs" / "csv", elsewhere):
        with (folder / "epochs.csv").open(newline="") as lines:
            rows = [(line["row"], line["epoch"]) for line in csv.DictReader(lines)]
        assert rows == [("dense", "0"), ("dense", "1"), ("random", "0"), ("random", "1")]
    assert diary.exists()


def test_without_log_nothing_is_logged(small: Run, results: Path) -> None:
    assert small().code == 0
    assert not (results / "logs").exists()


@pytest.mark.parametrize(
    ("logger", "facts"),
    [
        ("csw=logs", ["'csw'", "'csv'"]),
        ("=logs", ["logger ''", "csv"]),
        ("csv=afile", ["'csv'", "'afile'", "File exists"]),
        ("raising", ["'raising' of own-logger 1.0", "OSError: no room"]),
        ("silent=x", ["'silent=x' of own-logger 1.0", "hook"]),
        ("misspelled", ["'misspelled' of own-logger 1.0", "synflow_bench_cell_finish"]),
    ],
)
def test_a_wrong_logger_is_one_line_before_anything_runs(
    small: Run,
    results: Path,
    distribution: Any,
    logger: str,
    facts: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    distribution("own-logger", LOGGERS)
    Path("afile").touch()
    small("--log", logger).assert_refused(*facts)
    assert not results.exists()


@pytest.mark.slow
def test_a_process_with_workers_warns_once_and_keeps_stdout_for_the_outcome(
    distribution: Any, launch: Run, results: Path
) -> None:
    distribution("broken-plugin", "raise RuntimeError('not today')")
    arguments = ["--epochs", "1", "--seeds", "2", "--pruner", "random", "--compression", "10"]
    place = ["--results", str(results), "--workers", "2", "--json"]
    outcome = launch("run", *arguments, *place, env=distribution.environment())
    assert outcome.code == 0
    assert json.loads(outcome.out)["ok"] == 4
    assert outcome.err.count("RuntimeError: not today") == 1
    assert "Traceback" not in outcome.err
