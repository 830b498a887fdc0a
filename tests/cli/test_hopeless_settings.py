"""A setting that can never work ends `run` with one line, before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]

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
FITS = ["--pruner", "random", "--compression", "10"]

pytestmark = pytest.mark.usefixtures("torch_as_it_was")


@pytest.fixture
def run(invoke: Run, results: Path, tmp_path: Path) -> Run:
    """Run one seed of one epoch of `random` at compression 10 in this process."""

    def run(*arguments: str) -> Any:
        place = ["--results", str(results), "--data", str(tmp_path / "data"), "--executor", "serial"]
        return invoke("run", "--epochs", "1", "--seeds", "1", *FITS, *place, *arguments)

    return run


@pytest.mark.parametrize("how", [[], ["--dry-run"], ["--json"]])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--model", "fc", "--model", "lottery/vgg16"],
            "digits / lottery/vgg16: input 1x8x8 is too small for lottery/vgg16: it needs at least 1x16x16",
        ),
        (
            ["--set", "pruning.prune_residual=true"],
            "digits / fc: model 'fc' has no residual scales to prune; leave out prune_residual, or build a "
            "residual network with its option `residual = true`",
        ),
        (
            ["--set", "model.options.width=3"],
            "digits / fc: unknown option of model 'fc': 'width'; it takes none",
        ),
        (
            ["--model", "narrow"],
            "digits / narrow: model 'narrow' cannot take an input of 1x8x8: "
            "mat1 and mat2 shapes cannot be multiplied (1x64 and 784x10)",
        ),
    ],
)
def test_it_is_one_line_and_nothing_is_written(
    run: Run, results: Path, distribution: Any, how: list[str], arguments: list[str], message: str
) -> None:
    distribution("narrow-models", NARROW)
    outcome = run(*arguments, *how)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == f"error: {message}\n"
    assert not results.exists()


def test_what_is_a_fault_of_the_code_fails_in_the_cells_and_no_board_is_drawn(
    run: Run, results: Path, distribution: Any
) -> None:
    distribution("narrow-models", NARROW)
    outcome = run("--model", "unbuilt")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.count(": no such luck") == 2
    assert outcome.err.endswith(f"cells: 0 run, 0 recorded before, 2 failed; records in {results}\n")
    assert "in unbuilt" in next(results.glob("records/**/*.json")).read_text()


def test_a_setting_whose_cells_cannot_run_here_is_not_tried_and_leaves_no_folder(
    run: Run, results: Path, tmp_path: Path
) -> None:
    outcome = run("--dataset", "mnist", "--set", "pruning.prune_residual=true")
    data = tmp_path / "data"
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err == (
        f"warning: data set 'mnist' is not in {str(data)!r}; "
        f"`synflow-bench data download mnist --data {data}` fetches it\n"
        "done; cells: 0 run, 0 recorded before, 2 skipped\n"
    )
    assert not results.exists()


def test_an_imagenet_folder_without_val_is_one_line(run: Run, tmp_path: Path) -> None:
    home = tmp_path / "data" / "imagenet"
    (home / "train").mkdir(parents=True)
    outcome = run("--dataset", "imagenet", "--model", "imagenet/resnet18")
    assert (outcome.code, outcome.out) == (1, "")
    warning, end = outcome.err.splitlines()
    assert warning.startswith(
        f"warning: data set 'imagenet' is not in {str(home.parent)!r}; it cannot be downloaded, and {home} "
        "has no folder 'val'; put the photographs into "
    )
    assert end == "done; cells: 0 run, 0 recorded before, 2 skipped"


def test_a_run_with_everything_recorded_tries_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run().code == 0

    def tried(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("synflow_bench.execution._settings.check_network", tried)
    assert run().code == 0
