"""Parquet: raw records survive the way there and back."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from synflow_bench.errors import UsageError
from synflow_bench.leaderboard import parquet
from synflow_bench.records import Record

pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")


def read(content: bytes, tmp_path: Path) -> list[dict[str, Any]]:
    file = tmp_path / "records.parquet"
    file.write_bytes(content)
    rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
    return rows


def nested(row: dict[str, Any]) -> dict[str, Any]:
    """A record from dotted columns; parts of nothing but None were None."""
    record: dict[str, Any] = {}
    for column, value in row.items():
        *parts, leaf = column.split(".")
        place = record
        for part in parts:
            place = place.setdefault(part, {})
        is_json = leaf in {"options", "parameters", "plugins", "protocol"} and value is not None
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
    rows = read(parquet(records), tmp_path)
    assert [Record.model_validate(nested(row)) for row in rows] == records


def test_columns_are_typed_even_where_every_value_is_missing(make_record: Any, tmp_path: Path) -> None:
    (tmp_path / "one.parquet").write_bytes(parquet([make_record(status="failed")]))
    schema = pq.read_table(tmp_path / "one.parquet").schema
    assert str(schema.field("metrics.test_top1").type) == "double"
    assert str(schema.field("cell.seed").type) == "int64"


def test_without_pyarrow_the_way_out_is_one_line(make_record: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        UsageError, match=r"needs pyarrow; install it with: pip install 'synflow-bench\[parquet\]'"
    ):
        parquet([make_record()])
