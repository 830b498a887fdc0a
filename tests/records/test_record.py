"""Records: valid numbers, the key of a cell, and the JSON Schema."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from synflow_bench.pruning import kept_count
from synflow_bench.records import Epoch, Record, json_schema, key_of
from synflow_bench.suites import Cell, ModelSpec, PrunerSpec, Recipe, Revisions, Setting

SCHEMA_FILE = Path(__file__).parents[2] / "docs" / "reference" / "record.schema.json"
SCALARS = st.booleans() | st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6) | st.text(max_size=8)
few = settings(max_examples=40)
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


def test_a_record_without_a_compiler_has_no_field_for_it(make_record: Any) -> None:
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


def test_a_cell_that_did_not_go_well_has_no_metrics(make_record: Any) -> None:
    data = json.loads(make_record().to_json()) | {"status": "failed", "error": {"kind": "E", "message": "m"}}
    with pytest.raises(ValidationError, match="status 'failed' has no metrics"):
        Record.model_validate(data)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("cell.compression", -5),
        ("cell.seed", -1),
        ("cell.seed", 10**30),
        ("cell.revisions.pruner", 10**30),
        ("cell.setting.root_seed", 10**30),
        ("cell.setting.recipe.epochs", 10**30),
        ("metrics.test_top1", 1.1),
        ("metrics.test_top5", -0.1),
        ("metrics.density", -0.1),
        ("metrics.compression", -5),
        ("metrics.compression_all", 0.5),
        ("metrics.effective_compression", 0.5),
        ("metrics.theoretical_speedup", -1),
        ("layers.0.size", 10**30),
        ("layers.0.kept", -1),
        ("layers.0.effective_kept", -1),
        ("layers.0.macs", -1),
        ("curve.0.epoch", -1),
        ("curve.0.lr", -0.1),
        ("timing.prune_seconds", -1),
        ("provenance.threads", 0),
    ],
)
def test_a_number_out_of_range_is_refused_here_and_by_the_json_schema(
    make_record: Any, path: str, value: float
) -> None:
    data = json.loads(make_record().to_json())
    *outer, last = (int(part) if part.isdecimal() else part for part in path.split("."))
    part = data
    for name in outer:
        part = part[name]
    part[last] = value
    with pytest.raises(ValidationError, match=r"should be (greater|less) than or equal to"):
        Record.model_validate_json(json.dumps(data))
    assert list(jsonschema.Draft202012Validator(json_schema()).iter_errors(data))


@pytest.mark.parametrize(
    ("part", "changes", "fact"),
    [
        ("metrics", {"max_test_top1": 0.7}, "max_test_top1 0.7 is below test_top1 0.8"),
        ("layers", {"kept": 10**9}, "1000000000 weights are kept of 858000"),
        ("layers", {"effective_kept": 85801}, "85801 weights are on a path"),
        ("layers", {"kept": 85801}, "85801 of 858000"),
        ("layers", {"size": 0, "kept": 0}, "0 of 0"),
        ("metrics", {"density": 0.2}, "metrics.density is 0.2"),
        ("metrics", {"compression": 2}, "metrics.compression is 2.0"),
        ("metrics", {"effective_compression": 99}, "metrics.effective_compression is 99.0"),
        ("layers", {"effective_kept": 85800}, "metrics.effective_compression is None"),
    ],
)
def test_numbers_that_do_not_agree_are_an_error(
    make_record: Any, part: str, changes: dict[str, Any], fact: str
) -> None:
    data = json.loads(make_record().to_json())
    (data[part][0] if part == "layers" else data[part]).update(changes)
    with pytest.raises(ValidationError, match=re.escape(fact)):
        Record.model_validate(data)


@pytest.mark.parametrize("compression", [2.0, 10.0, 1000.0])
def test_a_dense_record_under_another_name_is_refused(make_record: Any, compression: float) -> None:
    dense = make_record("dense")
    pruner = dense.cell.pruner.model_copy(update={"name": "miracle"})
    cell = dense.cell.model_copy(update={"pruner": pruner, "compression": compression})
    data = json.loads(dense.to_json()) | {"cell": cell.model_dump(mode="json"), "key": key_of(cell)}
    with pytest.raises(ValidationError, match=rf"858000 of 858000 .* {round(858000 / compression)}\b"):
        Record.model_validate(data)


def test_the_dense_network_keeps_everything(make_record: Any) -> None:
    data = json.loads(make_record("snip", 2).to_json())
    data["cell"]["pruner"]["name"] = "dense"
    with pytest.raises(ValidationError, match="858000"):
        Record.model_validate(data)


@few
@given(st.floats(1, 1e4), st.integers(1, 10**5))
def test_a_record_may_keep_what_the_harness_keeps_and_no_other_number(
    make_record: Any, compression: float, size: int
) -> None:
    data = json.loads(make_record("snip", compression).to_json())
    density = 1 / compression
    assume(round(density * size))
    kept = kept_count(density, size)
    data["layers"][0] |= {"size": size, "kept": kept}
    data["metrics"] |= {"density": kept / size, "compression": size / kept}
    assert Record.model_validate(data).layers[0].kept == kept
    for other in {kept - 1, kept + 1} & set(range(1, size + 1)):
        data["layers"][0]["kept"] = other
        data["metrics"] |= {"density": other / size, "compression": size / other}
        with pytest.raises(ValidationError, match=f"{other} of {size} "):
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


def test_what_is_left_out_is_written_where_there_is_any(make_record: Callable[..., Record]) -> None:
    record = make_record("snip", 10)
    assert "left_out" not in record.to_json()
    named = record.model_copy(update={"left_out": ("table.weight",)}).sealed()
    assert json.loads(named.to_json())["left_out"] == ["table.weight"]
    assert Record.model_validate_json(named.to_json()) == named
    assert Record.model_validate_json(record.to_json()).left_out == ()
