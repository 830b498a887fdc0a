"""The cost in records: its numbers agree, older records have none, and every reader finds the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from synflow_bench.errors import RecordError
from synflow_bench.records import Cost, Record, ResultReader, read_record

MakeRecord = Callable[..., Record]
NUMBERS = {"training": 0.5, "pruning": 0.25, "total": 0.75, "dense_macs": 100, "examples": 60}


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"total": 0.8}, "its parts give 0.75"),
        ({"pruning": None}, "needs all its numbers"),
        ({"examples": None}, "needs all its numbers"),
        ({"not_counted": "no"}, "has no numbers"),
        ({"training": -1.0}, "greater than or equal to 0"),
        ({"total": float("inf")}, "finite"),
    ],
)
def test_numbers_that_do_not_agree_are_refused(changes: dict[str, Any], fact: str) -> None:
    with pytest.raises(ValidationError, match=fact):
        Cost(**{**NUMBERS, **changes})


def test_a_cost_is_counted_or_says_why_not() -> None:
    assert Cost(**NUMBERS).total == 0.75
    assert Cost(not_counted="layer 'mix'").total is None
    with pytest.raises(ValidationError):
        Cost()


def test_a_record_without_a_cost_has_no_line_of_it(make_record: MakeRecord) -> None:
    assert '"cost"' not in make_record().to_json()
    assert Record.model_validate_json(make_record().to_json()).cost is None


@pytest.mark.parametrize("cost", [Cost(**NUMBERS), Cost(not_counted="layer 'mix'"), None])
def test_the_quick_reader_finds_what_the_full_one_finds(
    make_record: MakeRecord, tmp_path: Path, cost: Cost | None
) -> None:
    record = make_record().model_copy(update={"cost": cost}).sealed()
    path = tmp_path / f"{record.key}.json"
    path.write_text(record.to_json(), encoding="utf-8")
    assert read_record(path).cost == cost
    assert ResultReader().read(str(path)).cost == cost


def test_a_damaged_cost_is_found(make_record: MakeRecord, tmp_path: Path) -> None:
    record = make_record(cost=0.5)
    path = tmp_path / f"{record.key}.json"
    content = json.loads(record.to_json())
    content["cost"]["total"] = 0.4
    del content["sha256"]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(RecordError, match="total is"):
        ResultReader().read(str(path))


def test_equal_cells_may_differ_in_whether_their_cost_was_counted(make_record: MakeRecord) -> None:
    assert make_record(cost=0.5).result == make_record().result
    assert make_record(cost=0.5).key == make_record().key
