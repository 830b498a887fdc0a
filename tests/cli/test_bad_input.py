"""What the user can mend is one line that names the thing and the way out; the rest goes on."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

Run = Callable[..., Any]

MISBEHAVING = """
    import torch
    from synflow_bench import Pruner

    class Raising(Pruner):
        def score(self, problem):
            raise ZeroDivisionError("no such luck")

    class NotANumber(Pruner):
        def score(self, problem):
            return {name: weight * float("nan") for name, weight in problem.parameters.items()}

    class WrongShape(Pruner):
        def score(self, problem):
            return {name: weight.abs().flatten() for name, weight in problem.parameters.items()}

    class Constant(Pruner):
        def score(self, problem):
            return {name: torch.ones_like(weight) for name, weight in problem.parameters.items()}

    class Partial(Pruner):
        def score(self, problem):
            return {name: weight.abs() for name, weight in list(problem.parameters.items())[1:]}

    @hookimpl
    def synflow_bench_pruners():
        named = {"raising": Raising, "nan": NotANumber, "shape": WrongShape}
        return {**named, "constant": Constant, "partial": Partial}
"""
FAULTS = {
    "raising": "no such luck",
    "nan": "scores of layer 'linear1.weight' are not finite",
    "shape": "scores of layer 'linear1.weight' have shape (6400,), not (100, 64)",
    "constant": "scores of layer 'linear1.weight' are all 1: they rank nothing",
    "partial": "no scores for layer 'linear1.weight'",
}
UNUSABLE = """
    from __future__ import annotations
    from typing import TYPE_CHECKING
    from synflow_bench import Pruner, hookimpl

    if TYPE_CHECKING:
        from typing import Literal

    class Unread(Pruner):
        norm: Literal["l1", "l2"] = "l2"

    class Picky(Pruner):
        share: float = 0.0

        def __post_init__(self):
            if not self.share:
                raise ValueError("share must be above 0")

    @hookimpl
    def synflow_bench_pruners():
        return {"unread": Unread, "picky": Picky}
"""
REASONS = {
    "unread": "pruner 'unread' of lab_unusable.py sha256:{}: the type of a parameter cannot be read: "
    "name 'Literal' is not defined; import it outside TYPE_CHECKING",
    "picky": "pruner 'picky' of lab_unusable.py sha256:{} refuses its defaults: share must be above 0; "
    "mend them, or set parameters that it takes",
}
TRUNCATED = """
    from synflow_bench import Dataset
    from synflow_bench.errors import DataError
    class Truncated(Dataset):
        input_shape, num_classes, sizes, mean, std = (1, 8, 8), 10, (100, 100), (0.5,), (0.5,)
        def present(self, root):
            return True
        def load(self, root, *, download=False):
            raise DataError("images.gz ends too early; delete it and download it again")
    @hookimpl
    def synflow_bench_datasets():
        return {"truncated": Truncated}
"""


pytestmark = pytest.mark.usefixtures("torch_as_it_was")


@pytest.fixture
def run(invoke: Run, results: Path, tmp_path: Path) -> Run:
    """Run one seed of one epoch at compression 10 in this process; checks that nothing is a traceback."""

    def run(*arguments: str, executor: str = "serial", debug: bool = False) -> Any:
        place = ["--results", str(results), "--data", str(tmp_path / "data"), "--executor", executor]
        outcome = invoke("run", "--epochs", "1", "--seeds", "1", *place, *arguments, *["--debug"] * debug)
        assert debug or "Traceback" not in outcome.out + outcome.err
        return outcome

    return run


ONE = ("--pruner", "random", "--compression", "10")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pruner", "synflw"], "unknown pruner 'synflw'; did you mean 'synflow'?"),
        (["--pruner", "xyzzy"], "unknown pruner 'xyzzy'; known: "),
        (["--pruner", "synflow["], "pruner: cannot read pruner 'synflow['; write it as name or name["),
        (["--pruner", "dense"], "the dense network is always a row; leave out pruner 'dense'"),
        (["--model", "cov"], "unknown model 'cov'; did you mean 'conv'?"),
        (["--dataset", "digit"], "unknown dataset 'digit'; did you mean 'digits'?"),
        (["--suite", "quik"], "unknown suite 'quik'; did you mean 'quick'?"),
        (
            ["--suite", "./quik.toml"],
            "no suite file 'quik.toml'; `synflow-bench list suites` names the installed",
        ),
        (["--ablation", "shufle"], "ablations[0]: input should be 'none', 'shuffle', 'reinit', 'invert',"),
        (["--device", "gpu"], "unknown device 'gpu'; use auto, cpu, cuda, cuda:1 or mps"),
        (["--device", "cuda:77"], "device 'cuda:77' is not on this machine; it has "),
        (["--device", "cuda:77", "--dry-run"], "device 'cuda:77' is not on this machine; it has "),
        (["--compression", "0.5"], "compressions[0]: input should be greater than or equal to 1 (given 0.5)"),
        (["--compression", "nan"], "compressions[0]: input should be a finite number (given nan)"),
        (["--compression", "ten"], "invalid value for '--compression'"),
        (["--set", "recipe.lr"], "cannot read 'recipe.lr'; write it as path=value, such as recipe.lr=0.01"),
        (["--set", "recipe.momentum=0.5"], "momentum has no effect with optimizer 'adam'; leave it out"),
        (["--set", "recipe.lrr=1"], "settings[0].recipe.lrr: no such field"),
        (["--all", *ONE], "--all takes every installed pruner; leave out --pruner, or --all"),
        (
            ["--force", "--no-retry-failed"],
            "--force runs every cell again; leave out --no-retry-failed, or --force",
        ),
        (["--workers", "2"], "executor 'serial' runs one cell at a time; leave out --workers 2"),
        (["--workers", "0"], "invalid value for '--workers'"),
    ],
)
def test_a_usage_error_is_one_line_and_nothing_runs(
    run: Run, results: Path, arguments: list[str], message: str
) -> None:
    outcome = run(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert message in outcome.err
    assert not results.exists()


def test_an_unknown_executor_is_a_usage_error(run: Run) -> None:
    outcome = run(*ONE, executor="lokal")
    assert (outcome.code, outcome.err) == (2, "error: unknown executor 'lokal'; did you mean 'local'?\n")


def test_debug_shows_the_traceback_above_the_line(run: Run) -> None:
    outcome = run("--pruner", "synflw", debug=True)
    assert outcome.code == 2
    assert outcome.err.startswith("Traceback (most recent call last)")
    assert outcome.err.endswith("\nerror: unknown pruner 'synflw'; did you mean 'synflow'?\n")


def test_all_faults_of_a_suite_are_told_in_one_line(run: Run, tmp_path: Path) -> None:
    suite = tmp_path / "faulty.toml"
    suite.write_text(
        'compressions = [0.1]\nseeds = 0\nsettings=[{dataset="digits", model="fc", recipe={epochs=-1,lr=0}}]'
    )
    outcome = run("--suite", str(suite))
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    for path in ("compressions[0]: ", "seeds: ", "settings[0].recipe.epochs: ", "settings[0].recipe.lr: "):
        assert path in outcome.err


def cells(outcome: Any) -> dict[str, tuple[str | None, str | None]]:
    """Status and error of every cell, by its row and compression."""
    told = ((*cell["cell"].split(" / ")[2:4], cell) for cell in json.loads(outcome.out)["cells"])
    return {f"{row} {compression[12:]}": (cell["status"], cell["error"]) for row, compression, cell in told}


def test_pruners_that_misbehave_fail_their_cells_and_the_others_go_on(run: Run, distribution: Any) -> None:
    distribution("misbehaving", MISBEHAVING)
    named = [word for name in (*FAULTS, "random") for word in ("--pruner", name)]
    outcome = run("--compression", "10", "--json", *named)
    assert outcome.code == 1
    assert cells(outcome) == {
        "dense 1": ("ok", None),
        "random 10": ("ok", None),
        **{f"{name} 10": ("failed", message) for name, message in FAULTS.items()},
    }
    for name, message in FAULTS.items():
        assert f"failed: digits / fc / {name} / compression 10 / seed 0: {message}\n" in outcome.err
    assert "cells: 2 run, 0 recorded before, 5 failed" in outcome.err


def test_the_record_has_the_traceback_of_what_is_a_fault_of_the_code_alone(
    run: Run, distribution: Any, results: Path
) -> None:
    distribution("misbehaving", MISBEHAVING)
    run("--compression", "10", "--pruner", "raising", "--pruner", "nan")
    errors = {
        name: json.loads(next(results.glob(f"records/*/*/{name}/*.json")).read_text())["error"]
        for name in ("raising", "nan")
    }
    assert errors["raising"]["kind"] == "ZeroDivisionError"
    assert "in score" in errors["raising"]["traceback"]
    assert (errors["nan"]["kind"], errors["nan"]["traceback"]) == ("ScoreError", None)


def test_failures_alike_are_told_three_times_and_counted(run: Run, distribution: Any) -> None:
    distribution("misbehaving", MISBEHAVING)
    compressions = [f"--compression={compression}" for compression in (2, 3, 4, 5, 6)]
    outcome = run("--pruner", "raising", *compressions)
    assert outcome.err.count(": no such luck") == 3
    assert outcome.err.count("no such luck; more of the same are only counted") == 1
    assert "5 failed" in outcome.err


def test_a_compression_beyond_one_weight_fails_with_the_limit(run: Run) -> None:
    outcome = run("--pruner", "random", "--compression", "10", "--compression", "1e6", "--json")
    assert outcome.code == 1
    assert cells(outcome) == {
        "dense 1": ("ok", None),
        "random 10": ("ok", None),
        "random 1e+06": (
            "failed",
            "compression 1e+06 leaves none of 47400 weights; the largest possible is 47400",
        ),
    }


def test_the_limit_itself_leaves_one_weight(run: Run) -> None:
    assert cells(run("--pruner", "random", "--compression", "47400", "--json"))["random 47400"] == (
        "ok",
        None,
    )


def test_a_damaged_data_set_fails_and_the_others_go_on(run: Run, distribution: Any) -> None:
    distribution("truncated-data", TRUNCATED)
    outcome = run(*ONE, "--dataset", "truncated", "--dataset", "digits")
    assert outcome.code == 1
    assert (
        outcome.err.count("data set 'truncated': images.gz ends too early; delete it and download it again")
        == 2
    )
    assert "cells: 2 run, 0 recorded before, 2 failed" in outcome.err


def test_a_missing_data_set_is_skipped_with_the_command_and_the_others_go_on(
    run: Run, tmp_path: Path
) -> None:
    outcome = run(*ONE, "--dataset", "mnist", "--dataset", "digits")
    assert outcome.code == 1
    data = tmp_path / "data"
    assert outcome.err.startswith(
        f"warning: data set 'mnist' is not in {str(data)!r}; "
        f"`synflow-bench data download mnist --data {data}` fetches it\n"
    )
    assert "cells: 2 run, 0 recorded before, 2 skipped" in outcome.err
    assert outcome.out.startswith("digits / fc\n")


def test_a_plugin_that_raises_on_import_is_quarantined_in_one_line(run: Run, distribution: Any) -> None:
    distribution("broken-plugin", "raise RuntimeError('not today')")
    outcome = run(*ONE)
    assert outcome.code == 0
    assert outcome.err.count("not today") == 1
    assert outcome.err.startswith("warning: ")
    assert "broken-plugin" in outcome.err.splitlines()[0]
    assert "RuntimeError: not today" in outcome.err.splitlines()[0]


def test_a_pruner_that_does_not_import_is_left_out_of_all_with_a_line(run: Run, distribution: Any) -> None:
    distribution("absent", "@hookimpl\ndef synflow_bench_pruners(): return {'absent': 'nowhere_at_all:X'}")
    outcome = run("--all", "--compression", "10", "--dry-run", "--json")
    assert outcome.code == 0
    assert outcome.err.startswith(
        "warning: cannot load pruner 'absent' of absent 1.0 from 'nowhere_at_all:X'"
    )
    assert outcome.err.endswith("; it is left out\n")
    assert {"dense 1", "random 10", "synflow 10"} <= cells_planned(outcome)
    assert "absent 10" not in cells_planned(outcome)


@pytest.fixture
def unusable(tmp_path: Path) -> Iterator[Path]:
    """A plugin file whose pruners cannot be made by name alone."""
    path = tmp_path / "lab_unusable.py"
    path.write_text(dedent(UNUSABLE))
    yield path
    sys.modules.pop("lab_unusable", None)


def told(name: str, file: Path) -> str:
    return REASONS[name].format(sha256(file.read_bytes()).hexdigest()[:12])


def test_pruners_that_cannot_be_made_are_left_out_of_all_with_a_line_each(run: Run, unusable: Path) -> None:
    outcome = run("--all", "--compression", "10", "--dry-run", "--json", "--plugin", str(unusable))
    assert outcome.code == 0, outcome.err
    lines = [f"warning: {told(name, unusable)}; it is left out\n" for name in ("picky", "unread")]
    assert outcome.err == "".join(lines)
    assert {"dense 1", "random 10", "synflow 10"} <= cells_planned(outcome)


@pytest.mark.parametrize("name", REASONS)
def test_a_pruner_that_cannot_be_made_is_refused_where_it_is_named(
    run: Run, unusable: Path, name: str
) -> None:
    outcome = run("--pruner", "random", "--pruner", name, "--dry-run", "--plugin", str(unusable))
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == f"error: {told(name, unusable)}\n"


@pytest.mark.parametrize("name", REASONS)
def test_a_pruner_that_cannot_be_made_breaks_the_contract(invoke: Run, unusable: Path, name: str) -> None:
    outcome = invoke("check", name, "--json", "--plugin", str(unusable))
    (report,) = json.loads(outcome.out)
    assert (outcome.code, outcome.err) == (1, "")
    assert report["findings"][0]["verdict"] == "fail"
    assert report["findings"][0]["reason"] == told(name, unusable)


def cells_planned(outcome: Any) -> set[str]:
    told = (cell["cell"].split(" / ")[2:4] for cell in json.loads(outcome.out)["cells"])
    return {f"{row} {compression[12:]}" for row, compression in told}


@pytest.fixture
def record(run: Run, results: Path) -> Path:
    """The record of the pruned cell of two that are recorded."""
    assert run(*ONE).code == 0
    return next(results.glob("records/digits/fc/random/*.json"))


@pytest.mark.parametrize("dry", [True, False])
def test_an_unreadable_record_is_run_again_and_nothing_is_lost(
    run: Run, results: Path, record: Path, dry: bool
) -> None:
    text = record.read_text()
    record.write_text(text[:100])
    outcome = run(*ONE, *["--dry-run"] * dry)
    assert outcome.code == 0
    assert outcome.err.startswith(f"warning: unreadable record {str(record)!r}: ")
    assert "its cell runs again" in outcome.err
    kept = [path.read_text() for path in results.glob("replaced/**/*.json")]
    assert (record.read_text() == text[:100], kept) == (dry, [] if dry else [text[:100]])
    if not dry:
        assert "cells: 1 run, 1 recorded before;" in outcome.err
        assert json.loads(record.read_text())["metrics"] == json.loads(text)["metrics"]


def test_a_record_that_is_damaged_within_is_told_and_left_alone(run: Run, record: Path) -> None:
    record.write_text(record.read_text().replace('"test_top1"', '"test_top2"', 1))
    damaged = record.read_text()
    outcome = run(*ONE)
    assert outcome.code == 1
    assert f"warning: unreadable record {str(record)!r}: " in outcome.err
    assert "restore it or delete it" in outcome.err
    assert record.read_text() == damaged


def test_a_results_folder_of_another_schema_is_left_alone(run: Run, results: Path, record: Path) -> None:
    (results / "store.json").write_text('{"schema": 99}')
    before = record.read_bytes()
    outcome = run(*ONE, "--force")
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith(f"error: results folder {str(results)!r} holds records of schema 99, ")
    assert "choose another folder with --results, or the version that wrote it" in outcome.err
    assert record.read_bytes() == before
