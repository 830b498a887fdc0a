"""The benchmark from Python: five tasks of a user, and how it behaves in scripts and interpreters."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch

import synflow_bench as sfb
from synflow_bench.errors import PluginError, RecordError, SuiteError, UnknownNameError, UsageError
from synflow_bench.records import Result, Store
from synflow_bench.suites import ModelSpec, PrunerSpec, Recipe, Setting, read_tuning

pytestmark = pytest.mark.usefixtures("torch_as_it_was")

SMALL: dict[str, Any] = {
    "compressions": [2, 10],
    "seeds": 2,
    "epochs": 1,
    "executor": "serial",
    "progress": False,
}


class GradNorm(sfb.Pruner):
    """Keep the weights with the largest gradients."""

    power: float = 1.0

    def score(self, problem: sfb.Problem) -> dict[str, Any]:
        for inputs, labels in problem.batches():
            problem.loss(problem.model(inputs), labels).backward()
        return {
            name: p.grad.abs() ** self.power for name, p in problem.parameters.items() if p.grad is not None
        }


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> sfb.Results:
    """Three pruners on the quick suite, at a size for a test."""
    folder = tmp_path_factory.mktemp("three")
    return sfb.run("quick", pruners=["snip", "magnitude", "random"], results=folder / "results", **SMALL)


def test_run_three_pruners_and_get_a_frame(three: sfb.Results) -> None:
    frame = three.to_dataframe()
    assert isinstance(frame, pandas.DataFrame)
    assert len(frame) == len(three) == 2 + 3 * 2 * 2
    assert set(frame["pruner"]) == {"dense", "snip", "magnitude", "random"}
    assert frame["test_top1"].between(0, 1).all()
    assert (frame["status"] == "ok").all()
    at_ten = frame[(frame["pruner"] == "snip") & (frame["target_compression"] == 10)]
    assert at_ten["compression"].tolist() == pytest.approx([10, 10], rel=1e-3)
    assert frame.to_dict("records")[0].keys() == three.to_dicts()[0].keys()


def test_compare_two_pruners(three: sfb.Results) -> None:
    leaderboard = three.leaderboard(baseline="random")
    (board,) = leaderboard.boards
    means = {
        row.label: {each.compression: each.accuracy.mean for each in row.points if each.accuracy}
        for row in board.rows
    }
    by_hand = three.to_dataframe().groupby(["pruner", "target_compression"])["test_top1"].mean()
    for name in ("snip", "random"):
        for compression in (2.0, 10.0):
            assert means[name][compression] == pytest.approx(by_hand[name, compression])
    assert "snip" in leaderboard.to_markdown()
    assert "snip" in str(leaderboard)
    assert max(map(len, str(leaderboard).splitlines())) <= 80
    assert r"\begin{tab" in leaderboard.to_latex()
    assert "<table" in leaderboard._repr_html_()


def test_add_a_pruner_class_of_ones_own(results: Path) -> None:
    found = sfb.run(pruners=[GradNorm, GradNorm(power=2.0), "random"], results=results, **SMALL)
    assert {row["pruner"] for row in found.to_dicts()} == {
        "dense",
        "grad-norm",
        "grad-norm[power=2.0]",
        "random",
    }
    record = next(r for r in found.records() if r.cell.pruner.name == "grad-norm")
    assert "sha256:" in record.provenance.plugins["pruner"]
    again = sfb.run(pruners=[GradNorm], results=results, **SMALL)
    assert again.summary is not None
    assert again.summary.ok == 0


def test_plot(three: sfb.Results) -> None:
    chart = three.leaderboard().chart()
    described = json.dumps(chart.to_dict())
    assert {"snip", "magnitude", "random"} <= {
        name for name in ("snip", "magnitude", "random") if name in described
    }


def test_read_records_made_by_the_command_line(invoke: Callable[..., Any], results: Path) -> None:
    options = ["--compression", "10", "--seeds", "1", "--epochs", "1", "--executor", "serial"]
    assert invoke("run", "--pruner", "random", *options, "--results", str(results)).code == 0
    loaded = sfb.load_results(results)
    assert [row["pruner"] for row in loaded.to_dicts()] == ["dense", "random"]
    assert loaded.summary is None
    assert [record.key for record in loaded.records()] == [result.key for result in loaded]


def test_python_and_the_command_line_make_the_same_records(
    invoke: Callable[..., Any], three: sfb.Results, results: Path
) -> None:
    options = [
        "--compression",
        "2",
        "--sparsity",
        "0.9",
        "--seeds",
        "0,1",
        "--epochs",
        "1",
        "--executor",
        "serial",
    ]
    pruners = ["--pruner", "snip", "--pruner", "magnitude", "--pruner", "random"]
    assert invoke("run", *pruners, *options, "--results", str(results)).code == 0
    theirs = {path.stem for path in Store(results).paths()}
    assert theirs == {result.key for result in three}


def test_a_closure_that_changes_is_another_version(results: Path) -> None:
    def made(factor: float) -> type[sfb.Pruner]:
        class Scaled(GradNorm):
            def score(self, problem: sfb.Problem) -> dict[str, Any]:
                return {name: score * factor for name, score in super().score(problem).items()}

        return Scaled

    few = {**SMALL, "seeds": 1, "epochs": 0}
    sfb.run(pruners=made(1), results=results, **few)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sfb.run(pruners=made(1), results=results, **few)
    with pytest.warns(UserWarning, match="Scaled"):
        sfb.run(pruners=made(2), results=results, **few)


def test_seeds_are_a_number_or_a_list(results: Path) -> None:
    found = sfb.run(pruners=["random"], results=results, **{**SMALL, "seeds": [3, 5]})
    assert {row["seed"] for row in found.to_dicts()} == {3, 5}


def test_sparsities_are_compressions(results: Path) -> None:
    small = {**SMALL, "compressions": None}
    found = sfb.run(pruners=["random"], sparsities=[0.9], results=results, **small)
    assert {row["target_compression"] for row in found.to_dicts()} == {1.0, 10.0}


def test_suites_and_overrides(results: Path, tmp_path: Path) -> None:
    suite = {
        "compressions": [4],
        "seeds": 1,
        "settings": [{"dataset": "digits", "model": "fc", "recipe": {"epochs": 5}}],
    }
    found = sfb.run(
        suite, pruners=[PrunerSpec(name="random")], overrides={"recipe.epochs": 0}, results=results,
        executor="serial", progress=False,
    )  # fmt: skip
    assert {record.cell.setting.recipe.epochs for record in found.records()} == {0}


def test_a_run_that_is_tuned_has_a_board_with_the_value_of_every_pruner(results: Path) -> None:
    small = {**SMALL, "compressions": [4], "seeds": 1, "epochs": 0}
    found = sfb.run(pruners=["random"], tune={"lr": [0.001, 0.003]}, results=results, **small)
    assert len(found) == 2 * (1 + 1)
    (board,) = found.leaderboard().boards
    assert [row.tuned for row in board.rows] == [0.001, 0.001]
    assert len(sfb.load_results(results).leaderboard().boards) == 2
    (again,) = sfb.load_results(results).leaderboard(tune="lr=0.001|0.003").boards
    assert again == board
    with pytest.raises(SuiteError, match="cannot be tuned"):
        found.leaderboard(tune="seeds=1|2")
    with pytest.raises(UsageError, match="tune=3"):
        sfb.run(tune=3, results=results, **small)


def test_a_tuned_run_that_ended_early_has_a_board_all_the_same(results: Path, make_record: Any) -> None:
    def of(rate: float, **fields: Any) -> Result:
        recipe = Recipe(epochs=5, optimizer="adam", lr=rate)
        setting = Setting(dataset="digits", model=ModelSpec(name="fc"), recipe=recipe)
        return Result.of(make_record("snip", 10, setting=setting, **fields))

    tuning = read_tuning("lr=0.001|0.01")
    one = sfb.Results(results, [of(0.001, seed=0), of(0.001, seed=1)], tuning=tuning)
    (board,) = one.leaderboard().boards
    assert board.tuned is None
    with pytest.raises(UsageError, match="no two settings differ only in lr"):
        one.leaderboard(tune="lr=0.001|0.01")
    both = sfb.Results(results, [of(0.001, seed=0), of(0.01, seed=0, top1=0.9)], tuning=tuning)
    (board,) = both.leaderboard().boards
    assert [row.tuned for row in board.rows] == [0.01]


def test_rows_have_the_cost_and_the_protocol_with_its_fields(results: Path, make_record: Any) -> None:
    def of(cost: float | None, **protocol: Any) -> Result:
        setting = Setting.model_validate(
            {"dataset": "digits", "model": "fc", "recipe": {"epochs": 5}, "protocol": protocol}
        )
        return Result.of(make_record("magnitude", 10, setting=setting, cost=cost))

    plain = {"name": "singleshot"}
    found = [of(None, **plain), *(of(n, name="multishot", levels=n) for n in (3, 5))]
    rows = sfb.Results(results, found).to_dicts()
    assert [(row["protocol"], row["cost"]) for row in rows] == [
        ("singleshot", None),
        ("multishot[levels=3]", 3),
        ("multishot[levels=5]", 5),
    ]


def test_a_pruner_that_fails_is_among_the_failed(results: Path) -> None:
    class Broken(sfb.Pruner):
        needs_data = False

        def score(self, problem: sfb.Problem) -> dict[str, Any]:
            raise ZeroDivisionError("no scores today")

    found = sfb.run(pruners=[Broken], results=results, **SMALL)
    assert len(found.failed) == 4
    assert found.to_dicts()[-1]["error"] == "ZeroDivisionError: no scores today"


LOCK = threading.Lock()


def locked() -> type[sfb.Pruner]:
    """Return a class that uses an object which no other process can have."""

    class Locked(GradNorm):
        def score(self, problem: sfb.Problem) -> dict[str, Any]:
            with LOCK:
                return super().score(problem)

    return Locked


class OwnInit(GradNorm):
    """Has parameters that are no fields."""

    def __init__(self, strength: float = 1.0) -> None: ...


class Empty(sfb.Pruner):
    """Has no method."""


class Revised(GradNorm):
    """Has a revision that is no number of a revision."""

    revision = 0


@pytest.mark.parametrize(
    ("arguments", "error", "names"),
    [
        ({"suite": "quik"}, UnknownNameError, "quik"),
        ({"suite": 3}, UsageError, "suite=3"),
        ({"pruners": ["synflw"]}, UnknownNameError, "synflw"),
        ({"pruners": [int]}, UsageError, "int"),
        ({"pruners": [3]}, UsageError, "3"),
        ({"pruners": []}, UsageError, "pruners"),
        ({"pruners": {"random": 1}}, UsageError, "pruners"),
        ({"pruners": locked(), "executor": "local"}, UsageError, "Locked"),
        ({"pruners": OwnInit}, UsageError, "OwnInit"),
        ({"pruners": Empty}, UsageError, "Empty"),
        ({"pruners": Revised}, UsageError, "Revised"),
        ({"pruners": GradNorm(power=math.nan)}, UsageError, "power=nan"),
        ({"pruners": [GradNorm, type("GradNorm", (GradNorm,), {})]}, PluginError, "rename"),
        ({"datasets": ["digit"]}, UnknownNameError, "digit"),
        ({"datasets": []}, UsageError, "datasets"),
        ({"datasets": [3]}, UsageError, "[3]"),
        ({"models": 3}, UsageError, "models=3"),
        ({"compressions": None, "sparsities": [1.0]}, UsageError, "1"),
        ({"compressions": [0.5]}, UsageError, "0.5"),
        ({"compressions": ["2"]}, UsageError, "'2'"),
        ({"compressions": [True]}, UsageError, "True"),
        ({"seeds": 0}, SuiteError, "seeds"),
        ({"seeds": []}, UsageError, "seeds"),
        ({"seeds": "3"}, UsageError, "'3'"),
        ({"seeds": 20240101}, SuiteError, "[20240101]"),
        ({"epochs": -1}, SuiteError, "-1"),
        ({"epochs": "1"}, UsageError, "'1'"),
        ({"ablations": "shufle"}, SuiteError, "shufle"),
        ({"overrides": {"recipe.lr": "fast"}}, SuiteError, "fast"),
        ({"overrides": {"recipe.epochs": 3}}, UsageError, "recipe.epochs"),
        ({"overrides": {3: 3}}, UsageError, "{3: 3}"),
        ({"overrides": ["recipe.lr=1"]}, UsageError, "recipe.lr=1"),
        ({"overrides": "recipe.lr=1"}, UsageError, "recipe.lr=1"),
        ({"executor": "cloud"}, UnknownNameError, "cloud"),
        ({"executor": 3}, UsageError, "executor=3"),
        ({"plugins": ["none.py"]}, UsageError, "none.py"),
        ({"plugins": 3}, UsageError, "plugins=3"),
        ({"device": None}, UsageError, "device=None"),
        ({"workers": 0}, UsageError, "workers=0"),
        ({"threads": "1"}, UsageError, "threads='1'"),
        ({"data": 3}, UsageError, "data=3"),
        ({"results": 3}, UsageError, "results=3"),
        ({"force": 1}, UsageError, "force=1"),
        ({"progress": None}, UsageError, "progress=None"),
    ],
)
def test_what_cannot_be_used_is_one_line_that_names_it(
    results: Path, arguments: dict[str, Any], error: type[Exception], names: str
) -> None:
    with pytest.raises(error) as caught:
        sfb.run(**{"pruners": ["random"], "results": results, **SMALL, **arguments})
    message = str(caught.value)
    assert names in message
    assert "\n" not in message
    assert "--plugin" not in message
    assert not results.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        {"pruners": "random"},
        {"pruners": PrunerSpec(name="random")},
        {"pruners": (name for name in ["random"])},
        {"pruners": map(str, ["random"])},
        {"datasets": "digits", "models": "fc", "ablations": "none"},
        {"compressions": 2},
        {"compressions": np.array([2])},
        {"compressions": None, "sparsities": np.float64(0.5)},
        {"seeds": np.int64(1)},
        {"seeds": np.arange(1)},
        {"overrides": {"recipe.lr": np.float64(0.01)}},
    ],
    ids=lambda arguments: "-".join(arguments),
)
def test_one_value_stands_for_a_list_and_arrays_for_lists(results: Path, arguments: dict[str, Any]) -> None:
    few = {**SMALL, "compressions": [2], "seeds": 1, "epochs": 0}
    found = sfb.run(**{"pruners": ["random"], "results": results, **few, **arguments})
    assert [row["pruner"] for row in found.to_dicts()] == ["dense", "random"]


def test_a_class_and_its_subclass_run_and_are_left_as_they_were(results: Path) -> None:
    class Child(GradNorm):
        pass

    few = {**SMALL, "seeds": 1, "epochs": 0}
    found = sfb.run(pruners=[GradNorm, Child, locked(), Child(power=2)], results=results, **few)
    assert (len(found), found.failed) == (1 + 4 * 2, ())
    assert type("Grandchild", (Child,), {})().power == 1.0


def test_a_serial_run_neither_uses_nor_changes_the_settings_of_its_process(results: Path) -> None:
    few = {**SMALL, "pruners": [GradNorm], "seeds": 1}
    plain = sfb.run(**few, results=results)
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(2)
    random.seed(5)
    drawn = random.getstate()
    try:
        with torch.inference_mode():
            other = sfb.run(**few, results=results.with_name("other"))
            assert torch.is_inference_mode_enabled()
        settings = torch.get_default_dtype(), torch.get_num_threads()
    finally:
        torch.set_default_dtype(torch.float32)
    assert [r.metrics for r in other] == [r.metrics for r in plain]
    assert settings == (torch.float64, 2)
    assert random.getstate() == drawn
    assert (torch.tensor(1e-40) / 2).item() > 0
    assert other.failed == ()


def test_cells_of_missing_datasets_are_named(results: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="cifar10"):
        found = sfb.run(pruners="random", datasets="cifar10", data=tmp_path, results=results, **SMALL)
    assert list(found.skipped) == ["cifar10"]
    assert "cifar10" in repr(found)
    assert list(found.to_dataframe().columns)[:2] == ["key", "status"]
    with pytest.raises(RecordError, match="cifar10"):
        found.leaderboard()


def test_a_slice_is_results(three: sfb.Results) -> None:
    assert isinstance(three[:2], sfb.Results)
    assert list(three[:2]) == [three[0], three[1]]


def test_names_of_rows_and_axes_are_checked(three: sfb.Results) -> None:
    with pytest.raises(UsageError, match="3"):
        three.leaderboard(baseline=3)  # type: ignore[arg-type]
    for axis in ("x", 3):
        with pytest.raises(UsageError, match="compression"):
            three.leaderboard().chart(axis=axis)  # type: ignore[arg-type]


def test_a_record_that_cannot_be_read_is_left_out(results: Path) -> None:
    few = {**SMALL, "seeds": 1, "epochs": 0}
    sfb.run(pruners="random", results=results, **few)
    broken, *others = Store(results).paths()
    broken.write_text("{}")
    with pytest.warns(UserWarning, match=broken.stem):
        found = sfb.load_results(results)
    assert len(found) == len(others)
    assert len(found.unreadable) == 1


def test_an_archive_is_no_results_folder(tmp_path: Path) -> None:
    archive = tmp_path / "records.tar.gz"
    archive.touch()
    with pytest.raises(RecordError, match="results import"):
        sfb.load_results(archive)
    with pytest.raises(UsageError, match="3"):
        sfb.load_results(3)  # type: ignore[arg-type]


def test_a_missing_results_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="nowhere"):
        sfb.load_results(tmp_path / "nowhere")


def test_a_folder_without_records_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=tmp_path.name):
        sfb.load_results(tmp_path)


SCRIPT = """
import synflow_bench as sfb

class Mine(sfb.Pruner):
    needs_data = False
    def score(self, problem):
        return {name: weight.abs() for name, weight in problem.parameters.items()}

found = sfb.run(pruners=[Mine, "random"], compressions=[10], seeds=2, epochs=1, workers=2,
                results=RESULTS, progress=False)
print(len(found), len(found.failed), sorted({row["pruner"] for row in found.to_dicts()}))
"""
EXPECTED = "6 0 ['dense', 'mine', 'random']"


THREADS = """
import multiprocessing, os, sys, threading
import synflow_bench as sfb
main, environment = sys.modules["__main__"], dict(os.environ)
def run(number):
    sfb.run(pruners="random", compressions=2, seeds=1, epochs=0, workers=2, progress=False,
            results=f"results{number}")
threads = [threading.Thread(target=run, args=(number,)) for number in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print([len(sfb.load_results(f"results{number}")) for number in range(3)])
print(sys.modules["__main__"] is main, {n for n, v in os.environ.items() if environment.get(n) != v})
print(multiprocessing.get_start_method(allow_none=True))
"""


@pytest.mark.slow
def test_runs_in_threads_leave_the_process_as_it_was(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", THREADS], capture_output=True, text=True, timeout=300, cwd=tmp_path
    )
    assert done.stdout.splitlines() == ["[2, 2, 2]", "True set()", "None"], done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("how", ["script", "guarded", "stdin", "command", "interactive"])
def test_it_runs_with_workers_wherever_python_runs(how: str, tmp_path: Path) -> None:
    code = SCRIPT.replace("RESULTS", repr(str(tmp_path / "results")))
    if how == "guarded":
        *head, call, output = code.replace("\n                ", " ").strip().splitlines()
        code = "\n".join([*head, 'if __name__ == "__main__":', f"    {call}", f"    {output}", ""])
    script = tmp_path / "script.py"
    script.write_text(code)
    arguments = {
        "script": [str(script)],
        "guarded": [str(script)],
        "stdin": ["-"],
        "command": ["-c", code],
        "interactive": ["-i", "-q"],
    }[how]
    typed = code.replace("\n                ", " ")
    done = subprocess.run(
        [sys.executable, *arguments],
        input=typed if how in ("stdin", "interactive") else "",
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
    )
    assert EXPECTED in done.stdout, done.stderr
    assert "Traceback" not in done.stderr
