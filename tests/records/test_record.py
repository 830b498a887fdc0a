"""What a record accepts, and how its key depends on the cell."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from synflow_bench.records import Epoch, Record, json_schema, key_of
from synflow_bench.suites import Cell, ModelSpec, PrunerSpec, Recipe, Revisions, Setting

SCHEMA_FILE = Path(__file__).parents[2] / "docs" / "reference" / "record.schema.json"
SCALARS = st.booleans() | st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6) | st.text(max_size=8)
few = settings(max_examples=40, deadline=None)
PARAMETERS = st.dictionaries(st.from_regex(r"[a-z]{1,6}", fullmatch=True), SCALARS, max_size=4)


@st.composite
def cells(draw: st.DrawFn) -> Cell:
    recipe = Recipe(
        epochs=draw(st.integers(0, 200)),
        optimizer=draw(st.sampled_from(["sgd", "momentum", "adam", "rmsprop"])),
        lr=draw(st.floats(1e-6, 10)),
        weight_decay=draw(st.floats(0, 1)),
    )
    return Cell(
        setting=Setting(
            dataset="digits", model=ModelSpec(name="fc", options=draw(PARAMETERS)), recipe=recipe
        ),
        pruner=PrunerSpec(name="snip", parameters=draw(PARAMETERS), label=draw(st.text(max_size=5))),
        compression=draw(st.floats(1, 1e6)),
        seed=draw(st.integers(0, 100)),
        ablation=draw(st.sampled_from(["none", "shuffle", "invert"])),
    )


def reversed_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    return value


@few
@given(cells())
def test_the_key_does_not_depend_on_the_order_of_fields(cell: Cell) -> None:
    again = Cell.model_validate(reversed_keys(cell.model_dump(mode="json")))
    assert key_of(again) == key_of(cell)


@few
@given(cells())
def test_a_cell_that_was_written_and_read_keeps_its_key(cell: Cell) -> None:
    assert key_of(Cell.model_validate_json(cell.model_dump_json())) == key_of(cell)


@few
@given(cells(), cells())
def test_cells_have_equal_keys_if_and_only_if_they_are_equal_but_for_the_label(
    one: Cell, other: Cell
) -> None:
    assert (key_of(one) == key_of(other)) == (one.identity() == other.identity())


def test_the_key_is_sixteen_hex_digits_and_ignores_the_label(make_record: Any) -> None:
    named, unnamed = make_record(label="My SNIP"), make_record(label="")
    assert named.key == unnamed.key
    assert len(named.key) == 16
    assert int(named.key, 16) >= 0


def test_a_record_without_a_compiler_is_written_as_before_recipes_had_one(make_record: Any) -> None:
    """Boards name the digest of their records' files."""
    record = make_record()
    assert "compile" not in record.to_json()
    assert Record.model_validate_json(record.to_json()) == record
    recipe = record.cell.setting.recipe.model_copy(update={"compile": "yes"})
    compiled = make_record(setting=record.cell.setting.model_copy(update={"recipe": recipe}))
    assert json.loads(compiled.to_json())["cell"]["setting"]["recipe"]["compile"] == "yes"


@pytest.mark.parametrize("part", ["pruner", "model", "dataset"])
def test_every_revision_changes_the_key(make_record: Any, part: str) -> None:
    assert make_record().key != make_record(revisions=Revisions(**{part: 2})).key


@pytest.mark.parametrize("status", ["ok", "failed", "skipped"])
def test_a_record_survives_writing_and_reading(make_record: Any, status: str) -> None:
    record = make_record(status=status)
    assert Record.model_validate_json(record.to_json()) == record


def test_the_result_leaves_out_where_and_how_fast(make_record: Any) -> None:
    slow, fast = make_record(prune_seconds=9), make_record(prune_seconds=0.1)
    assert slow != fast
    assert slow.result == fast.result
    assert {"timing", "provenance"}.isdisjoint(slow.result)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_recorded_as_none(loss: float) -> None:
    point = Epoch(epoch=1, lr=0.1, train_loss=loss, val_top1=None, test_top1=0.1, test_loss=2.0)
    assert point.train_loss is None
    assert point.test_loss == 2.0


def test_a_metric_that_is_not_finite_is_refused(make_record: Any) -> None:
    with pytest.raises(ValidationError, match="finite number"):
        make_record(theoretical_speedup=math.inf)


@pytest.mark.parametrize(("status", "missing"), [("ok", "metrics"), ("failed", "error")])
def test_a_status_without_its_part_is_refused(make_record: Any, status: str, missing: str) -> None:
    data = json.loads(make_record(status=status).to_json()) | {missing: None}
    with pytest.raises(ValidationError, match=f"status '{status}' needs"):
        Record.model_validate(data)


@pytest.mark.parametrize("status", ["ok", "failed", "skipped"])
def test_the_json_schema_accepts_what_is_written(make_record: Any, status: str) -> None:
    jsonschema.Draft202012Validator(json_schema()).validate(json.loads(make_record(status=status).to_json()))


@pytest.mark.parametrize(
    ("change", "path"),
    [({"status": "fine"}, "status"), ({"schema": 2}, "schema"), ({"metrics": {"test_top1": 7}}, "metrics")],
)
def test_the_json_schema_refuses_what_a_record_refuses(make_record: Any, change: Any, path: str) -> None:
    data = json.loads(make_record().to_json()) | change
    errors = list(jsonschema.Draft202012Validator(json_schema()).iter_errors(data))
    assert [error.path[0] for error in errors] == [path]
    with pytest.raises(ValidationError):
        Record.model_validate(data)


def test_the_json_schema_is_itself_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


def test_the_exported_json_schema_is_fresh() -> None:
    exported = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    assert exported == json_schema(), f"regenerate: synflow-bench results schema > {SCHEMA_FILE.name}"
