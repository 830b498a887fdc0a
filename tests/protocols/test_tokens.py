"""Cells on a dataset of character sequences run with the ordinary protocols."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from synflow_bench.execution import Plan, Resources, estimate
from synflow_bench.protocols import WorkerContext, run_cell
from synflow_bench.records import Store
from synflow_bench.suites import Cell, Multishot

MakeCell = Callable[..., Cell]


@pytest.fixture(scope="module")
def text(context: WorkerContext, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A text dataset in which the next character follows from the last one."""
    path = tmp_path_factory.mktemp("text") / "alphabet.txt"
    path.write_text("abcdefgh" * 150)
    return context.host.resolve_dataset(f"text[path={path},length=6,step=5]", context.data_root)[0]


RECIPE = {"batch_size": 16, "epochs": 3, "lr": 3e-3}


@pytest.mark.parametrize("pruner", ["dense", "magnitude", "snip"])
def test_a_character_model_learns_an_alphabet(
    make_cell: MakeCell, context: WorkerContext, text: str, pruner: str
) -> None:
    compression = 1.0 if pruner == "dense" else 2.0
    cell = make_cell(pruner, compression, dataset=text, model="gpt/char", recipe=RECIPE)
    record = run_cell(cell, context)
    assert record.error is None
    assert record.metrics is not None
    assert record.metrics.test_top1 > 0.9
    assert record.metrics.density == pytest.approx(1 / compression, rel=1e-4)


def test_levels_of_iterative_pruning(make_cell: MakeCell, context: WorkerContext, text: str) -> None:
    protocol = Multishot(levels=2, rewind=3)
    recipe = {**RECIPE, "epochs": 1, "channels_last": True}
    record = run_cell(
        make_cell("magnitude", 4.0, dataset=text, model="gpt/char", recipe=recipe, protocol=protocol), context
    )
    assert record.error is None
    assert len(record.levels or ()) == 3


@pytest.mark.parametrize("ablation", ["random-inputs", "random-labels", "invert", "shuffle", "reinit"])
def test_every_ablation(make_cell: MakeCell, context: WorkerContext, text: str, ablation: str) -> None:
    recipe = {**RECIPE, "epochs": 0}
    cell = make_cell("snip", 2.0, dataset=text, model="gpt/char", recipe=recipe, ablation=ablation)
    assert run_cell(cell, context).error is None


def test_networks_for_images_are_refused_in_one_line(
    make_cell: MakeCell, context: WorkerContext, text: str
) -> None:
    for model, dataset in (
        ("lottery/resnet20", text),
        ("fc", text),
        ("vit/tiny", text),
        ("gpt/char", "digits"),
    ):
        record = run_cell(make_cell("snip", dataset=dataset, model=model), context)
        assert record.error is not None
        assert (record.error.kind, record.error.traceback) == ("ModelError", None), record.error
        assert model in record.error.message
        assert "\n" not in record.error.message


def test_the_time_of_a_cell_is_estimated(
    make_cell: MakeCell, context: WorkerContext, text: str, tmp_path: Path
) -> None:
    missing = [make_cell("snip", dataset=text, model="gpt/char", recipe=RECIPE)]
    resources = Resources(data_root=context.data_root, device="cpu", threads=1, workers=1)
    (found,) = estimate(Plan(missing, missing=missing), Store(tmp_path), resources)
    assert found.seconds is not None, found.source
