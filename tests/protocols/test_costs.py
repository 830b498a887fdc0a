"""The cost of cells of every protocol, beside sums by hand over their levels, epochs and batches."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch

from synflow_bench.graph import effective_masks, trace
from synflow_bench.host import Host, PluginFile
from synflow_bench.protocols import WorkerContext, run_cell, run_cells
from synflow_bench.records import Cost, Record
from synflow_bench.suites import Cell, Multishot, Singleshot
from synflow_bench_pruners import synflow_rounds

MakeCell = Callable[..., Cell]
TRAINED = 1294
"""Digits that are trained on; the others are held out."""


def cost(record: Record) -> Cost:
    assert record.error is None, record.error
    assert record.cost is not None
    return record.cost


def speedup(record: Record) -> float:
    assert record.metrics is not None
    assert record.metrics.theoretical_speedup is not None
    return record.metrics.theoretical_speedup


def test_a_dense_training_costs_one_whatever_its_recipe(context: WorkerContext, make_cell: MakeCell) -> None:
    record = run_cell(make_cell("dense", 1.0), context)
    assert (cost(record).training, cost(record).pruning) == (1, 0)
    assert cost(record).examples == TRAINED * record.cell.setting.recipe.epochs
    assert cost(record).dense_macs == sum(layer.macs for layer in record.layers)


def test_pruned_at_initialization_a_training_costs_the_share_that_can_act(
    context: WorkerContext, make_cell: MakeCell
) -> None:
    record = run_cell(make_cell("snip", 8.0), context)
    assert cost(record).training == pytest.approx(1 / speedup(record))
    assert cost(record).total == pytest.approx(1 / speedup(record) + (cost(record).pruning or 0))


@pytest.mark.parametrize(
    ("pruner", "passes"),
    [
        ("random", 0),
        ("magnitude", 0),
        ("snip", 3 * 100),
        ("snip[rounds=2]", 2 * 3 * 100),
        ("synflow[rounds=5]", 5 * 3 + 3 + 1),
        ("grasp", 9 * 100),
    ],
)
def test_a_pruning_costs_its_passes_over_its_examples(
    context: WorkerContext, make_cell: MakeCell, pruner: str, passes: int
) -> None:
    """Ten examples of each of ten classes: a forward pass, and two for the derivatives.

    A product of the Hessian with a vector costs six more. Before its rounds, `synflow` looks for saturated
    activations with derivatives, and for rounding noise without them.
    """
    record = run_cell(make_cell(pruner, 20.0), context)  # so far that no kept score is rounded to zero
    assert cost(record).pruning == pytest.approx(passes / (3 * (cost(record).examples or 0)))


@pytest.mark.parametrize("replayed", [1000, 1])
def test_rounds_that_are_replayed_without_calls_of_layers_cost_as_much(
    context: WorkerContext, make_cell: MakeCell, monkeypatch: pytest.MonkeyPatch, replayed: int
) -> None:
    """Forty rounds, what `synflow` looks for before them, and the pass that is recorded for the replay."""
    monkeypatch.setattr(synflow_rounds, "REPLAYED", replayed)
    record = run_cell(make_cell("synflow[rounds=40]", 5.0, model="conv"), context)
    passes = 3 * (cost(record).examples or 0) * (cost(record).pruning or 0)
    assert passes == pytest.approx(40 * 3 + 3 + 1, abs=1.01)


def test_training_before_the_pruning_counts(context: WorkerContext, make_cell: MakeCell) -> None:
    record = run_cell(make_cell("magnitude", 5.0, protocol=Singleshot(pre_epochs=3)), context)
    epochs = record.cell.setting.recipe.epochs
    assert cost(record).training == pytest.approx((3 + epochs / speedup(record)) / epochs)


@pytest.mark.parametrize("rewind", ["init", 5, "lr"])
def test_every_level_counts_from_the_step_that_it_is_rewound_to(
    context: WorkerContext, make_cell: MakeCell, seen: list[dict[str, Any]], rewind: str | int
) -> None:
    protocol = Multishot(levels=2, rewind=rewind, pre_epochs=2)
    record = run_cell(make_cell("random", 9.0, protocol=protocol), context)
    recipe, masks = record.cell.setting.recipe, [call["masks"] for call in seen]
    skipped = recipe.batch_size * rewind if isinstance(rewind, int) else 0
    examples = [2 * TRAINED, 2 * TRAINED - skipped, recipe.epochs * TRAINED - skipped]
    # Every weight of a fully connected network is used once for an example.
    graph = trace(seen[0]["model"], torch.zeros(1, 1, 8, 8))
    acting = [sum(int(mask.sum()) for mask in effective_masks(graph, each).values()) for each in masks]
    expected = sum(map(math.prod, zip(examples, acting, strict=True))) / masks[0].size
    assert cost(record).training == pytest.approx(expected / (recipe.epochs * TRAINED))


@pytest.mark.parametrize(("batch_size", "dropped"), [(64, 0), (431, 1), (1, 0), (5000, 0)])
def test_a_last_batch_of_one_example_is_not_counted(
    context: WorkerContext, make_cell: MakeCell, batch_size: int, dropped: int
) -> None:
    fraction = 0.98 if batch_size == 1 else 0.1
    recipe = {"batch_size": batch_size, "validation_fraction": fraction}
    record = run_cell(make_cell("dense", 1.0, recipe=recipe), context)
    held_out = round(fraction * 1438)
    assert cost(record).examples == 1438 - held_out - dropped
    assert cost(record).training == 1


def test_a_batch_of_cells_costs_as_much_as_each_alone(context: WorkerContext, make_cell: MakeCell) -> None:
    cells = [make_cell("snip", 4.0), make_cell("magnitude", 4.0), make_cell("dense", 1.0)]
    together = run_cells(cells, context, lambda *_: None)
    assert [cost(record) for record in together] == [cost(run_cell(cell, context)) for cell in cells]


TABLE = """
    import torch
    from torch import nn

    from synflow_bench import hookimpl


    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(64, 10)
            self.table = nn.Parameter(torch.randn(10, 10))

        def forward(self, x):
            return torch.einsum("ni,oi->no", self.first(x.flatten(1)), self.table)


    @hookimpl
    def synflow_bench_models():
        return {"table": lambda input_shape, num_classes: Table()}
"""


def test_a_layer_that_cannot_be_counted_leaves_the_cost_blank_and_the_cell_goes_on(
    make_cell: MakeCell, tmp_path: Path
) -> None:
    plugin = tmp_path / "table.py"
    plugin.write_text(dedent(TABLE), encoding="utf-8")
    host = Host.load(files=[PluginFile.read(plugin)])
    context = WorkerContext(host, tmp_path, torch.device("cpu"), threads=1)
    record = run_cell(make_cell("magnitude", 4.0, model="table"), context)
    assert record.status == "ok"
    assert cost(record) == Cost(not_counted="cannot count the multiply-accumulates of layer 'table'")
