"""What a cell leaves besides its record: its masks and its network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from synflow_bench.errors import RecordError
from synflow_bench.protocols import Outcome, WorkerContext, prune_cell, run_cell
from synflow_bench.records import Record
from synflow_bench.suites import Cell, Multishot, Singleshot

MakeCell = Callable[..., Cell]


@pytest.mark.parametrize("ablation", ["none", "shuffle", "reinit"])
@pytest.mark.parametrize(
    "protocol", [Singleshot(), Singleshot(pre_epochs=1), Multishot(levels=2), Multishot(levels=2, rewind=3)]
)
def test_a_cell_pruned_again_has_the_masks_of_its_record(
    protocol: Any, ablation: str, context: WorkerContext, make_cell: MakeCell, seen: list[dict[str, Any]]
) -> None:
    cell = make_cell("snip", 5.0, protocol=protocol, ablation=ablation)
    record = run_cell(cell, context)
    trainings = len(seen)
    assert prune_cell(cell, context).masks.sha256 == record.masks
    assert len(seen) == 2 * trainings - 1, "all trainings but the last"


def test_the_outcome_has_the_masks_and_the_trained_network(
    context: WorkerContext, make_cell: MakeCell, seen: list[dict[str, Any]]
) -> None:
    ends: list[tuple[Record, Outcome]] = []
    record = run_cell(make_cell("snip", 5.0), replace(context, on_outcome=lambda *end: ends.append(end)))
    ((given, outcome),) = ends
    assert given == record
    assert outcome.masks.sha256 == record.masks
    parameters = dict(outcome.model.named_parameters())
    assert all(bool((parameters[name] == seen[-1]["final_weights"][name]).all()) for name in parameters)


def test_a_cell_whose_outcome_cannot_be_kept_has_failed(context: WorkerContext, make_cell: MakeCell) -> None:
    def full(*_: object) -> None:
        raise RecordError("the disk is full")

    record = run_cell(make_cell("random", 5.0), replace(context, on_outcome=full))
    assert record.status == "failed"
    assert record.error is not None
    assert record.error.message == "the disk is full"
