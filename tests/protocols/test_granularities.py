"""Cells with groups of weights: levels, ablations, compaction, and records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from synflow_bench.errors import SuiteError
from synflow_bench.protocols import WorkerContext, run_cell
from synflow_bench.records import Record, key_of
from synflow_bench.suites import Cell, Multishot, PrunerSpec, Revisions, Suite, expand, override

MakeCell = Callable[..., Cell]
SHORT = {"batch_size": 700}


def record(cell: Cell, context: WorkerContext) -> Record:
    found = run_cell(cell, context)
    assert found.error is None, found.error
    return Record.model_validate_json(found.to_json())


def test_removed_channels_count_in_every_number_of_a_record(
    context: WorkerContext, make_cell: MakeCell
) -> None:
    cell = make_cell("magnitude", 3.0, pruning={"granularity": "channel", "scope": "local"}, recipe=SHORT)
    found = record(cell, context)
    assert found.metrics is not None
    assert found.metrics.compression == pytest.approx(3, rel=0.05)
    assert found.metrics.effective_compression == found.metrics.compression
    assert found.metrics.theoretical_speedup == pytest.approx(found.metrics.compression)
    data = found.model_dump(by_alias=True)
    data["cell"]["setting"]["pruning"]["granularity"] = "weight"
    with pytest.raises(ValidationError, match="weights are kept, where compression 3 asks for"):
        Record.model_validate(data)


@pytest.mark.parametrize("granularity", ["2:4", "channel", "fan-in"])
def test_levels_end_with_masks_of_the_granularity(
    context: WorkerContext, make_cell: MakeCell, seen: list[dict[str, Any]], granularity: str
) -> None:
    protocol = Multishot(levels=2)
    pruning = {"granularity": granularity, "scope": "local"}
    found = record(make_cell(compression=2.0, protocol=protocol, pruning=pruning, recipe=SHORT), context)
    first, middle, last = (call["masks"] for call in seen)
    assert first.kept > middle.kept > last.kept
    assert middle.density == pytest.approx(0.5**0.5, abs=0.02)
    assert last.density == pytest.approx(0.5, abs=0.02)
    assert all(bool((middle[name] | ~last[name]).all()) for name in last)
    assert found.levels[1].density == middle.density


@pytest.mark.parametrize("granularity", ["2:4", "channel"])
def test_shuffled_groups_stay_groups(
    context: WorkerContext, make_cell: MakeCell, seen: list[dict[str, Any]], granularity: str
) -> None:
    for ablation in ("none", "shuffle"):
        pruning = {"granularity": granularity}
        record(make_cell(compression=2.0, pruning=pruning, ablation=ablation, recipe=SHORT), context)
    plain, shuffled = (call["masks"] for call in seen)
    assert plain != shuffled
    assert plain.kept == shuffled.kept
    hidden = shuffled["hidden1.weight"] if "hidden1.weight" in shuffled else list(shuffled.values())[1]
    if granularity == "2:4":
        assert set(hidden.view(-1, 4).sum(1).tolist()) == {2}
    else:
        rows, columns = hidden.any(1), hidden.any(0)
        assert hidden.equal(rows[:, None] & columns)


def test_pruners_without_scores_are_skipped(context: WorkerContext, make_cell: MakeCell) -> None:
    found = run_cell(make_cell("erk", 2.0, pruning={"granularity": "fan-in"}, recipe=SHORT), context)
    assert found.outcome == "not defined"
    assert found.error is not None
    assert "granularity 'fan-in' ranks groups by scores" in found.error.message


def test_what_a_pattern_cannot_divide_is_in_the_record(context: WorkerContext, make_cell: MakeCell) -> None:
    cell = make_cell(compression=2.0, model="conv", pruning={"granularity": "2:4"}, recipe=SHORT)
    (warning,) = record(cell, context).provenance.warnings
    assert "stays whole: the number of inputs is no multiple of 4" in warning


def test_a_suite_has_the_compression_of_its_pattern_alone(make_cell: MakeCell) -> None:
    setting = make_cell().setting.model_dump(exclude_unset=True)
    suite = Suite(name="mine", compressions=[1, 2, 10], seeds=1, settings=[setting])
    with pytest.raises(
        SuiteError, match=r"'2:4' keeps 2 of every 4 weights, .* 2, not 10; .*--compression 2"
    ):
        override(suite, assignments=["pruning.granularity=2:4"])
    fits = override(suite, compressions=[2], assignments=["pruning.granularity=2:4"])
    assert fits.settings[0].pruning.pattern == (2, 4)
    cells = {
        given: expand(
            override(suite, compressions=[given], assignments=["pruning.granularity=3:4"]),
            [PrunerSpec(name="magnitude")],
            lambda _setting, _pruner: Revisions(),
        )
        for given in (1.333333, 4 / 3)
    }
    assert [key_of(cell) for cell in cells[1.333333]] == [key_of(cell) for cell in cells[4 / 3]]
    assert {cell.compression for cell in cells[1.333333]} == {1, 4 / 3}
    with pytest.raises(SuiteError, match="'4:2' is no granularity; known: weight, kernel, channel, fan-in"):
        override(suite, assignments=["pruning.granularity=4:2"])
