"""`synflow-bench run`: from a suite to records and a leaderboard."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]

THIRD_PARTY = """
    import os
    from pathlib import Path
    from synflow_bench import Pruner
    FLAKY = Path(os.environ.get("FLAKY_FLAG", "/nowhere"))
    class Flaky(Pruner):
        'Fails as long as its flag is there.'
        needs_data = False
        def score(self, problem):
            if FLAKY.exists():
                raise RuntimeError("the flag is up")
            return {name: weight.abs() for name, weight in problem.parameters.items()}
    @hookimpl
    def synflow_bench_pruners():
        return {"flaky": Flaky}
"""
LOGGER = """
    HEARD = []
    @hookimpl
    def synflow_bench_run_started(run): HEARD.append(("started", run.cells, run.recorded))
    @hookimpl
    def synflow_bench_epoch_finished(cell, epoch): HEARD.append((cell.row, epoch.epoch))
    @hookimpl
    def synflow_bench_cell_finished(record): HEARD.append((record.cell.row, record.status))
    @hookimpl
    def synflow_bench_run_finished(run): HEARD.append(("finished", run.ok, run.failed, run.skipped))
"""


pytestmark = pytest.mark.usefixtures("torch_as_it_was")


@pytest.fixture
def run(invoke: Run, results: Path, tmp_path: Path) -> Run:
    """Run cells of one epoch in this process."""

    def run(*arguments: str) -> Any:
        place = ["--results", str(results), "--data", str(tmp_path / "data"), "--executor", "serial"]
        return invoke("run", "--epochs", "1", *place, *arguments)

    return run


@pytest.fixture
def small(run: Run) -> Run:
    """Two cells: the dense network, and one pruner at compression 10."""

    def small(*arguments: str, pruner: str = "random") -> Any:
        return run("--pruner", pruner, "--compression", "10", "--seeds", "1", *arguments)

    return small


def records(results: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in results.glob("records/**/*.json")}


def test_trains_records_and_prints_the_leaderboard(small: Run, results: Path) -> None:
    outcome = small()
    assert outcome.code == 0
    assert len(records(results)) == 2
    assert outcome.out.startswith("digits / fc\n1 epoch, adam")
    lines = [line.split() for line in outcome.out.splitlines()]
    assert ["pruner", "1", "10", "area", "intact", "to"] in lines
    assert {"dense", "random"} <= {line[0] for line in lines if line}
    progress, end = outcome.err.splitlines()
    assert progress.startswith("2/2 cells, 0 failed, took 0:")
    assert end == f"done; cells: 2 run, 0 recorded before; records in {results}"


def test_a_second_run_does_only_what_is_missing(small: Run, results: Path) -> None:
    small()
    before = records(results)
    again = small()
    assert again.code == 0
    assert again.err == f"done; cells: 0 run, 2 recorded before; records in {results}\n"
    assert records(results) == before
    more = small("--compression", "20")
    assert "cells: 1 run, 2 recorded before" in more.err
    assert before.items() <= records(results).items()


def test_json_is_on_stdout_alone(small: Run, results: Path) -> None:
    outcome = json.loads(small("--json").out)
    assert outcome["results"] == str(results)
    assert (outcome["ok"], outcome["failed"], outcome["recorded"], outcome["skipped"]) == (2, 0, 0, 0)
    assert (outcome["interrupted"], outcome["stopped"]) == (False, None)
    assert [cell["cell"] for cell in outcome["cells"]] == [
        "digits / fc / dense / compression 1 / seed 0",
        "digits / fc / random / compression 10 / seed 0",
    ]
    assert {f"{cell['key']}.json" for cell in outcome["cells"]} == records(results).keys()
    assert {(cell["status"], cell["error"]) for cell in outcome["cells"]} == {("ok", None)}


@pytest.fixture
def flag(tmp_path: Path, distribution: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """While it is there, pruner `flaky` fails."""
    flag = tmp_path / "flag"
    flag.touch()
    monkeypatch.setenv("FLAKY_FLAG", str(flag))
    distribution("flaky-pruner", THIRD_PARTY)
    return flag


def test_a_failed_cell_is_run_again_unless_told_otherwise(small: Run, flag: Path, results: Path) -> None:
    failed = small(pruner="flaky")
    assert failed.code == 1
    assert "failed: digits / fc / flaky / compression 10 / seed 0: the flag is up" in failed.err
    assert "cells: 1 run, 0 recorded before, 1 failed" in failed.err
    before = records(results)
    flag.unlink()
    kept = small("--no-retry-failed", pruner="flaky")
    assert kept.code == 1
    assert "cells: 0 run, 1 recorded before, 1 failed" in kept.err
    assert records(results) == before
    mended = small(pruner="flaky")
    assert mended.code == 0
    assert "cells: 1 run, 1 recorded before;" in mended.err


def test_force_runs_again_and_keeps_the_old_records(small: Run, results: Path) -> None:
    small()
    before = records(results)
    outcome = small("--force")
    assert "cells: 2 run, 0 recorded before" in outcome.err
    assert records(results).keys() == before.keys()
    kept = [path.read_bytes() for path in results.glob("replaced/**/*.json")]
    assert sorted(kept) == sorted(before.values())


def titles(outcome: Any) -> set[str]:
    assert outcome.code == 0, outcome.err
    return {cell["cell"] for cell in json.loads(outcome.out)["cells"]}


def rows(outcome: Any) -> set[str]:
    return {title.split(" / ")[2] for title in titles(outcome)}


@pytest.fixture
def look(run: Run) -> Run:
    """A dry run of one seed as JSON."""
    return lambda *arguments: run("--dry-run", "--json", "--seeds", "1", *arguments)


def test_every_installed_pruner_runs_unless_told_otherwise(look: Run, flag: Path, tmp_path: Path) -> None:
    assert {"flaky", "random", "magnitude", "snip", "grasp", "synflow"} <= rows(look())
    suite = tmp_path / "mine.toml"
    suite.write_text(
        'compressions = [2]\nseeds = 1\npruners = ["snip", "synflow[rounds=3]"]\n'
        'settings = [{dataset = "digits", model = "fc", recipe = {epochs = 1}}]\n'
    )
    assert rows(look("--suite", str(suite))) == {"dense", "snip", "synflow[rounds=3]"}
    assert rows(look("--suite", str(suite), "--pruner", "random")) == {"dense", "random"}
    assert {"flaky", "grasp"} <= rows(look("--suite", str(suite), "--all"))


def test_data_sets_networks_compressions_and_ablations_are_chosen(look: Run) -> None:
    choice = ["--dataset", "digits", "--model", "conv", "--compression", "3", "--pruner", "snip"]
    assert titles(look(*choice, "--ablation", "none", "--ablation", "shuffle")) == {
        "digits / conv / dense / compression 1 / seed 0",
        "digits / conv / snip / compression 3 / seed 0",
        "digits / conv / snip (shuffle) / compression 3 / seed 0",
    }


def test_options_that_change_the_recipe_change_the_cells(look: Run) -> None:
    def keys(*options: str) -> frozenset[str]:
        return frozenset(
            cell["key"] for cell in json.loads(look("--pruner", "random", *options).out)["cells"]
        )

    changes = [[], ["--precision", "bf16"], ["--set", "recipe.lr=0.5"], ["--set", "pruning.scope=local"]]
    assert len({keys(*options) for options in changes}) == len(changes)
    assert keys("--set", "recipe.epochs=1") == keys()


def test_a_dry_run_runs_nothing_and_estimates_by_timing(small: Run, results: Path) -> None:
    outcome = small("--dry-run")
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert [line.split(maxsplit=1)[1] for line in lines[:2]] == [
        "to run    digits / fc / dense / compression 1 / seed 0",
        "to run    digits / fc / random / compression 10 / seed 0",
    ]
    assert lines[2].startswith("digits / fc (")
    assert lines[2].endswith(" s a cell, from a few timed training steps, without pruning")
    assert lines[3].startswith("2 cells: 0 recorded, 2 to run, 0 skipped; to run for about 0:0")
    assert lines[3].endswith(" with 1 worker")
    assert not results.exists()


def test_a_dry_run_estimates_by_what_is_recorded(small: Run, results: Path) -> None:
    small()
    before = records(results)
    outcome = json.loads(small("--dry-run", "--json", "--compression", "20").out)
    assert [cell["status"] for cell in outcome["cells"]] == ["ok", "ok", "to run"]
    (estimate,) = outcome["estimates"]
    seconds = [json.loads(text)["timing"]["total_seconds"] for text in before.values()]
    assert estimate["seconds_per_cell"] == pytest.approx(sum(seconds) / 2)
    assert (estimate["cells"], estimate["source"]) == (1, "the mean of 2 recorded")
    assert outcome["seconds"] == pytest.approx(estimate["seconds_per_cell"])
    assert records(results) == before


def test_a_dry_run_writes_long_times_as_a_clock_does(small: Run, results: Path) -> None:
    small()
    for path in results.glob("records/**/*.json"):
        record = json.loads(path.read_text())
        record["timing"]["total_seconds"] = 754
        path.write_text(json.dumps(record))
    lines = small("--dry-run", "--compression", "20", "--compression", "50").out.splitlines()
    assert lines[-2].endswith(": about 12:34 a cell, the mean of 2 recorded")
    assert lines[-1].endswith("2 to run, 0 skipped; to run for about 25:08 with 1 worker")


def test_a_dry_run_divides_by_the_workers(invoke: Run, results: Path) -> None:
    arguments = ["--epochs", "1", "--seeds", "1", "--pruner", "random", "--results", str(results)]
    outcome = json.loads(invoke("run", *arguments, "--dry-run", "--json", "--workers", "4").out)
    (estimate,) = outcome["estimates"]
    assert outcome["workers"] == 4
    assert outcome["seconds"] == pytest.approx(estimate["cells"] * estimate["seconds_per_cell"] / 4)


def test_a_dry_run_with_all_recorded_needs_no_estimate(small: Run) -> None:
    small()
    assert small("--dry-run").out.splitlines()[-1] == "2 cells: 2 recorded, 0 to run, 0 skipped"


def test_loggers_hear_of_the_run(distribution: Any, small: Run) -> None:
    distribution("a-logger", LOGGER)
    small()
    import a_logger  # type: ignore[import-not-found]

    assert [
        ("started", 2, 0),
        *(("dense", 0), ("dense", 1), ("dense", "ok")),
        *(("random", 0), ("random", 1), ("random", "ok")),
        ("finished", 2, 0, 0),
    ] == a_logger.HEARD


@pytest.mark.slow
def test_as_a_process_with_workers_it_warns_once_and_keeps_stdout_for_the_outcome(
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
