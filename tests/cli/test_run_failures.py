"""`synflow-bench run` where something fails: it is named in one line, and everything else goes on."""

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
Plan = Callable[..., list[tuple[str, ...]]]

FAULTY = """
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
FACTS = {
    "raising": ("ZeroDivisionError: ", "no such luck"),
    "nan": ("ScoreError: ", "'linear1.weight'", "finite"),
    "shape": ("ScoreError: ", "'linear1.weight'", "(6400,)", "(100, 64)"),
    "constant": ("ScoreError: ", "'linear1.weight'", "all 1"),
    "partial": ("ScoreError: ", "'linear1.weight'"),
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
REASONS = {"picky": "share must be above 0", "unread": "'Literal'"}
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
NARROW = """
    from torch import nn
    def narrow(input_shape, num_classes):
        return nn.Sequential(nn.Flatten(), nn.Linear(784, num_classes))
    def unbuilt(input_shape, num_classes):
        raise ZeroDivisionError("no such luck")
    @hookimpl
    def synflow_bench_models():
        return {"narrow": narrow, "unbuilt": unbuilt}
"""


def cells(outcome: Any) -> dict[str, tuple[str | None, str | None]]:
    """Return the status and the error of every cell, by its row and compression."""
    parts = ((*cell["cell"].split(" / ")[2:4], cell) for cell in json.loads(outcome.out)["cells"])
    return {f"{row} {compression[12:]}": (cell["status"], cell["error"]) for row, compression, cell in parts}


def errors(results: Path) -> dict[str, dict[str, Any]]:
    """Return the error of every failed record, by its pruner."""
    paths = results.glob("records/*/*/*/*.json")
    return {path.parent.name: error for path in paths if (error := json.loads(path.read_text())["error"])}


def test_faulty_pruners_fail_their_cells_and_the_others_go_on(run: Run, distribution: Any) -> None:
    distribution("faulty", FAULTY)
    named = [word for name in (*FACTS, "random") for word in ("--pruner", name)]
    outcome = run("--compression", "10", "--json", *named)
    assert outcome.code == 1
    found = cells(outcome)
    assert (found.pop("dense 1"), found.pop("random 10")) == (("ok", None), ("ok", None))
    assert found.keys() == {f"{name} 10" for name in FACTS}
    for name, facts in FACTS.items():
        status, error = found[f"{name} 10"]
        assert status == "failed"
        assert error is not None
        assert all(fact in error for fact in facts)
        assert f"failed: digits / fc / {name} / compression 10 / seed 0: {error}" in outcome.err
    assert "cells: 2 run, 0 recorded before, 5 failed" in outcome.err


def test_a_failure_is_printed_with_its_line_and_the_command_that_shows_the_traceback(
    run: Run, invoke: Run, distribution: Any, results: Path
) -> None:
    """A handled error has neither a traceback nor a command."""
    distribution("faulty", FAULTY)
    outcome = run("--compression", "10", "--pruner", "raising", "--pruner", "nan")
    failures = {line.split(" / ")[2]: line for line in outcome.err.splitlines() if line.startswith("failed")}
    found = errors(results)
    assert "in score" in found["raising"]["traceback"]
    assert found["nan"]["traceback"] is None
    assert "ZeroDivisionError: no such luck (faulty.py:" in failures["raising"]
    assert "faulty.py" not in failures["nan"]
    assert "`" not in failures["nan"]
    command = failures["raising"].split("`")[1].split()
    assert command[0] == "synflow-bench"
    shown = invoke(*command[1:])
    assert shown.code == 0
    assert 'raise ZeroDivisionError("no such luck")' in shown.out
    assert "faulty.py:" in shown.out.partition("cell")[0]


def test_the_same_failure_is_printed_three_times_and_then_counted(run: Run, distribution: Any) -> None:
    distribution("faulty", FAULTY)
    compressions = [f"--compression={compression}" for compression in (2, 3, 4, 5, 6)]
    outcome = run("--pruner", "raising", *compressions)
    assert outcome.err.count("no such luck") == 3
    assert outcome.err.count("only counted") == 1
    assert "5 failed" in outcome.err


def test_a_compression_beyond_one_weight_fails_with_the_largest_possible(run: Run) -> None:
    found = cells(
        run("--pruner", "random", *(f"--compression={each}" for each in (10, 47400, 1e6)), "--json")
    )
    status, error = found.pop("random 1e+06")
    assert status == "failed"
    assert error is not None
    assert "47400" in error
    assert found == dict.fromkeys(("dense 1", "random 10", "random 47400"), ("ok", None))


def test_a_damaged_dataset_fails_and_the_others_go_on(small: Run, distribution: Any) -> None:
    distribution("truncated-data", TRUNCATED)
    outcome = small("--dataset", "truncated", "--dataset", "digits")
    assert outcome.code == 1
    assert outcome.err.count("dataset 'truncated': images.gz ends too early") == 2
    assert "cells: 2 run, 0 recorded before, 2 failed" in outcome.err


def test_a_missing_dataset_is_skipped_with_the_command_and_the_others_go_on(
    small: Run, tmp_path: Path
) -> None:
    outcome = small("--dataset", "mnist", "--dataset", "digits")
    assert outcome.code == 1
    warning = outcome.err.splitlines()[0]
    assert warning.startswith("warning: dataset 'mnist' ")
    assert f"`synflow-bench data download mnist --data {tmp_path / 'data'}`" in warning
    assert "cells: 2 run, 0 recorded before, 2 skipped" in outcome.err
    assert outcome.out.startswith("digits / fc")


def test_an_imagenet_folder_without_validation_images_is_skipped(small: Run, tmp_path: Path) -> None:
    home = tmp_path / "data" / "imagenet"
    (home / "train").mkdir(parents=True)
    outcome = small("--dataset", "imagenet", "--model", "imagenet/resnet18")
    assert (outcome.code, outcome.out) == (1, "")
    warning, end = outcome.err.splitlines()
    assert warning.startswith("warning: dataset 'imagenet' ")
    assert str(home) in warning
    assert "'val'" in warning
    assert end == "done; cells: 0 run, 0 recorded before, 2 skipped"


@pytest.mark.parametrize("how", [[], ["--dry-run"], ["--json"]])
@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["--model", "fc", "--model", "lottery/vgg16"], ["digits / lottery/vgg16: ", "1x8x8", "1x16x16"]),
        (["--set", "pruning.prune_residual=true"], ["digits / fc: ", "prune_residual"]),
        (["--set", "model.options.width=3"], ["digits / fc: ", "'width'"]),
        (["--model", "narrow"], ["digits / narrow: ", "1x8x8", "(1x64 and 784x10)"]),
    ],
)
def test_a_setting_that_cannot_work_is_one_line_and_nothing_is_written(
    small: Run, results: Path, distribution: Any, how: list[str], arguments: list[str], facts: list[str]
) -> None:
    distribution("narrow-models", NARROW)
    small(*arguments, *how).assert_refused(*facts)
    assert not results.exists()


def test_a_bug_of_a_model_fails_its_cells_and_no_board_is_printed(
    small: Run, results: Path, distribution: Any
) -> None:
    distribution("narrow-models", NARROW)
    outcome = small("--model", "unbuilt")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.count("no such luck") == 2
    assert outcome.err.endswith(f"cells: 0 run, 0 recorded before, 2 failed; records in {results}\n")
    assert "in unbuilt" in next(results.glob("records/**/*.json")).read_text()


def test_a_setting_without_its_dataset_is_not_tried_and_leaves_no_folder(small: Run, results: Path) -> None:
    outcome = small("--dataset", "mnist", "--set", "pruning.prune_residual=true")
    assert (outcome.code, outcome.out) == (1, "")
    warning, end = outcome.err.splitlines()
    assert warning.startswith("warning: dataset 'mnist' ")
    assert end == "done; cells: 0 run, 0 recorded before, 2 skipped"
    assert not results.exists()


def test_a_run_with_everything_recorded_tries_no_setting(
    small: Run, distribution: Any, tmp_path: Path
) -> None:
    count = tmp_path / "built.txt"
    distribution(
        "counted-models",
        f"""
        from torch import nn
        def counted(input_shape, num_classes):
            with open({str(count)!r}, "a") as file:
                file.write("built ")
            return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))
        @hookimpl
        def synflow_bench_models():
            return {{"counted": counted}}
        """,
    )
    assert small("--model", "counted").code == 0
    built = count.read_text()
    assert small("--model", "counted").code == 0
    assert count.read_text() == built


def test_a_plugin_that_raises_on_import_is_quarantined_with_one_line(small: Run, distribution: Any) -> None:
    distribution("broken-plugin", "raise RuntimeError('not today')")
    outcome = small()
    assert outcome.code == 0
    assert outcome.err.count("not today") == 1
    warning = outcome.err.splitlines()[0]
    assert warning.startswith("warning: ")
    assert "broken-plugin" in warning
    assert "RuntimeError: not today" in warning


def test_a_pruner_that_cannot_be_imported_is_left_out_of_all_with_a_line(run: Run, distribution: Any) -> None:
    distribution("absent", "@hookimpl\ndef synflow_bench_pruners(): return {'absent': 'nowhere_at_all:X'}")
    outcome = run("--all", "--compression", "10", "--dry-run", "--json")
    assert outcome.code == 0
    (warning,) = outcome.err.splitlines()
    assert warning.startswith("warning: ")
    assert all(fact in warning for fact in ("'absent'", "absent 1.0", "'nowhere_at_all:X'"))
    assert {"dense 1", "random 10", "synflow 10"} <= cells_planned(outcome)
    assert "absent 10" not in cells_planned(outcome)


def cells_planned(outcome: Any) -> set[str]:
    parts = (cell["cell"].split(" / ")[2:4] for cell in json.loads(outcome.out)["cells"])
    return {f"{row} {compression[12:]}" for row, compression in parts}


@pytest.fixture
def unusable(tmp_path: Path) -> Iterator[Path]:
    """A plugin file with pruners that cannot be made with their defaults."""
    path = tmp_path / "lab_unusable.py"
    path.write_text(dedent(UNUSABLE))
    yield path
    sys.modules.pop("lab_unusable", None)


def facts_of(name: str, file: Path) -> tuple[str, str, str]:
    return repr(name), f"lab_unusable.py sha256:{sha256(file.read_bytes()).hexdigest()[:12]}", REASONS[name]


def test_pruners_that_cannot_be_made_are_left_out_of_all_with_a_line_each(run: Run, unusable: Path) -> None:
    outcome = run("--all", "--compression", "10", "--dry-run", "--json", "--plugin", str(unusable))
    assert outcome.code == 0, outcome.err
    for name, warning in zip(REASONS, outcome.err.splitlines(), strict=True):
        assert warning.startswith("warning: ")
        assert all(fact in warning for fact in facts_of(name, unusable))
    assert {"dense 1", "random 10", "synflow 10"} <= cells_planned(outcome)


@pytest.mark.parametrize("name", REASONS)
def test_a_pruner_that_cannot_be_made_is_refused_if_it_is_named(run: Run, unusable: Path, name: str) -> None:
    outcome = run("--pruner", "random", "--pruner", name, "--dry-run", "--plugin", str(unusable))
    outcome.assert_refused(*facts_of(name, unusable))


@pytest.mark.parametrize("name", REASONS)
def test_a_pruner_that_cannot_be_made_breaks_the_contract(invoke: Run, unusable: Path, name: str) -> None:
    outcome = invoke("check", name, "--json", "--plugin", str(unusable))
    (report,) = json.loads(outcome.out)
    assert (outcome.code, outcome.err) == (1, "")
    assert report["findings"][0]["verdict"] == "fail"
    assert all(fact in report["findings"][0]["reason"] for fact in facts_of(name, unusable))


@pytest.fixture
def record(small: Run, results: Path) -> Path:
    """The record of the pruned cell of two that are recorded."""
    assert small().code == 0
    return next(results.glob("records/digits/fc/random/*.json"))


@pytest.mark.parametrize("dry", [True, False])
@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:100],
        lambda text: text.replace('"test_top1"', '"test_top2"', 1),
        lambda text: text.replace('"total_seconds": ', '"total_seconds": 1'),
    ],
    ids=["cut", "field", "number"],
)
def test_a_damaged_record_is_run_again_and_kept(
    small: Run, results: Path, record: Path, dry: bool, damage: Callable[[str], str]
) -> None:
    text = record.read_text()
    damaged = damage(text)
    assert damaged != text
    record.write_text(damaged)
    outcome = small(*["--dry-run"] * dry)
    assert outcome.code == 0
    warning = outcome.err.splitlines()[0]
    assert warning.startswith("warning: ")
    assert repr(str(record)) in warning
    assert repr(str(results / "replaced")) in warning
    kept = [path.read_text() for path in results.glob("replaced/**/*.json")]
    assert (record.read_text() == damaged, kept) == (dry, [] if dry else [damaged])
    if not dry:
        assert "cells: 1 run, 1 recorded before;" in outcome.err
        assert json.loads(record.read_text())["metrics"] == json.loads(text)["metrics"]


def test_a_results_folder_of_another_schema_is_left_alone(small: Run, results: Path, record: Path) -> None:
    (results / "store.json").write_text('{"schema": 99}')
    before = record.read_bytes()
    small("--force").assert_refused(repr(str(results)), "99", "another results folder")
    assert record.read_bytes() == before
