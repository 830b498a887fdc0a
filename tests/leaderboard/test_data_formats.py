"""CSV, JSON and Parquet: every number in full precision, and raw records that survive the way back."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from synflow_bench.errors import UsageError
from synflow_bench.leaderboard import build_leaderboard, render
from synflow_bench.leaderboard.data_formats import COLUMNS, SEED_COLUMNS, render_parquet
from synflow_bench.records import Record


def test_csv_has_a_line_for_every_row_and_compression_in_full_precision(text_of: Any) -> None:
    lines = list(csv.DictReader(io.StringIO(text_of("csv"))))
    assert len(lines) == 1 + 3 * 5
    (line,) = (each for each in lines if (each["row"], each["compression"]) == ("synflow", "10.0"))
    assert float(line["final_epoch_test_top1_mean"]) == pytest.approx((0.88 + 0.89 + 0.901) / 3, rel=1e-15)
    assert (line["n"], line["seeds"], line["standing"]) == ("3", "0;1;2", "best")
    (failed,) = (each for each in lines if each["failed"] == "1")
    assert (failed["row"], failed["compression"]) == ("snip", "50.0")


def test_csv_has_the_differences_of_aucs_from_the_best_and_the_baseline(example: list[Any]) -> None:
    page = build_leaderboard(example, baseline="random")
    lines = {line["row"]: line for line in csv.DictReader(io.StringIO(render(page, "csv")))}
    (board,) = page.boards
    for row in board.rows:
        for name, found in (
            ("best_uncorrected", row.auc_to_best_uncorrected),
            ("baseline", row.auc_to_baseline),
        ):
            mean, half_width = (
                lines[row.label][f"auc_to_{name}_{part}"] for part in ("mean", "t95_half_width")
            )
            assert (mean, half_width) == ((repr(found.mean), repr(found.half_width)) if found else ("", ""))
    assert lines["snip"]["auc_to_best_mean"].startswith("-0.33")


def test_json_has_every_seed_and_what_the_terms_mean(text_of: Any) -> None:
    (board,) = json.loads(text_of("json"))
    synflow = next(row for row in board["rows"] if row["label"] == "synflow")
    assert synflow["points"][2]["top1"] == pytest.approx({"0": 0.88, "1": 0.89, "2": 0.901}, rel=1e-15)
    assert board["setting"]["recipe"]["lr"] == 0.1
    assert board["unfinished"][0]["cells"] == [[50.0, 3]]
    assert board["preliminary"] is False
    assert "nothing runs faster" in board["definitions"]["speedup"]


def test_dictionaries_have_what_csv_has(example: list[Any]) -> None:
    leaderboard = build_leaderboard(example)
    lines = leaderboard.to_dicts()
    assert {tuple(line) for line in lines} == {COLUMNS}
    (line,) = (each for each in lines if (each["row"], each["compression"]) == ("synflow", 10))
    assert line["final_epoch_test_top1_mean"] == leaderboard.boards[0].rows[1].points[2].accuracy.mean
    assert line["rank"] == 1


def test_csv_per_seed_has_a_line_for_every_record(text_of: Any) -> None:
    lines = list(csv.DictReader(io.StringIO(text_of("csv", per_seed=True))))
    assert len(lines) == 3 + 3 * 5 * 3 + 1
    assert tuple(lines[0]) == SEED_COLUMNS
    found = [each["test_top1"] for each in lines if (each["row"], each["compression"]) == ("synflow", "10.0")]
    assert list(map(float, found)) == pytest.approx([0.88, 0.89, 0.901], rel=1e-15)
    (failed,) = (each for each in lines if each["status"] == "failed")
    assert (failed["row"], failed["seed"], failed["test_top1"]) == ("snip", "3", "")


def parquet() -> Any:
    return pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")


def read(content: bytes, tmp_path: Path) -> list[dict[str, Any]]:
    file = tmp_path / "records.parquet"
    file.write_bytes(content)
    rows: list[dict[str, Any]] = parquet().read_table(file).to_pylist()
    return rows


def nested(row: dict[str, Any]) -> dict[str, Any]:
    """A record from dotted columns; parts of nothing but None were None."""
    record: dict[str, Any] = {}
    for column, value in row.items():
        *parts, leaf = column.split(".")
        place = record
        for part in parts:
            place = place.setdefault(part, {})
        is_json = leaf in {"algorithms", "options", "parameters", "plugins", "protocol"} and value is not None
        place[leaf] = json.loads(value) if is_json else value
    return {name: None if _is_nothing(value) else value for name, value in record.items()}


def _is_nothing(value: Any) -> bool:
    return isinstance(value, dict) and all(inner is None for inner in value.values())


def test_records_come_back_as_they_went(make_record: Any, tmp_path: Path) -> None:
    records = [
        make_record("synflow[rounds=10]", collapsed_layers=("fc1",)),
        make_record("snip", status="failed", message="no luck"),
        make_record("random", 5, seed=3, ablation="shuffle", effective_compression=6.5),
    ]
    parquet()
    rows = read(render_parquet(records), tmp_path)
    assert [Record.model_validate(nested(row)) for row in rows] == records


def test_columns_are_typed_even_where_every_value_is_missing(make_record: Any, tmp_path: Path) -> None:
    parquet()
    (tmp_path / "one.parquet").write_bytes(render_parquet([make_record(status="failed")]))
    schema = parquet().read_table(tmp_path / "one.parquet").schema
    assert str(schema.field("metrics.test_top1").type) == "double"
    assert str(schema.field("cell.seed").type) == "int64"


def test_without_pyarrow_the_way_out_is_one_line(make_record: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        UsageError, match=r"needs pyarrow; install it with: pip install 'synflow-bench\[parquet\]'"
    ):
        render_parquet([make_record()])
