"""Tidy tables: rows of equal columns, as CSV, Parquet or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from synflow_bench.errors import UsageError

Row = dict[str, Any]
"""One observation: names, numbers, and None where there is none."""


def table_bytes(rows: Sequence[Row], path: Path) -> bytes:
    """The rows in the format that the suffix of `path` stands for: .csv, .parquet or .json."""
    return _WRITERS[check_table_path(path)](rows)


def check_table_path(path: Path) -> str:
    """The suffix of `path`; raises `UsageError` for one that no table can have, or that lacks its library."""
    suffix = path.suffix.lower()
    if suffix not in _WRITERS:
        raise UsageError(f"no table has the suffix of {str(path)!r}; use one of {', '.join(_WRITERS)}")
    if suffix == ".parquet":
        _pyarrow()
    return suffix


def read_table(path: Path) -> list[Row]:
    """The rows that `table_bytes` wrote; raises `UsageError` for a file that has none or cannot be read."""
    suffix = check_table_path(path)
    try:
        rows = _READERS[suffix](path.read_bytes())
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"cannot read table {str(path)!r}: {error}") from error
    if not rows:
        raise UsageError(f"table {str(path)!r} has no rows; leave it out")
    return rows


def aligned(rows: Sequence[Row]) -> list[Row]:
    """The rows with the columns of them all, None where a row has no value."""
    columns = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in columns} for row in rows]


def _from_csv(content: bytes) -> list[Row]:
    lines = csv.reader(io.StringIO(content.decode()))
    columns = next(lines, [])
    return [
        {name: _value(text) for name, text in _pairs(columns, line, lines.line_num)} for line in lines if line
    ]


def _pairs(columns: list[str], line: list[str], number: int) -> Iterator[tuple[str, str]]:
    if len(line) != len(columns):
        raise ValueError(f"line {number} has {len(line)} values for {len(columns)} columns")
    return zip(columns, line, strict=True)


def _value(text: str) -> Any:
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text or None


def _from_json(content: bytes) -> list[Row]:
    rows = json.loads(content)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("it is no JSON list of objects, one a row")
    return rows


def _from_parquet(content: bytes) -> list[Row]:
    import pyarrow.parquet as pq

    rows: list[Row] = pq.read_table(io.BytesIO(content)).to_pylist()
    return rows


def _csv(rows: Sequence[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _json(rows: Sequence[Row]) -> bytes:
    return (json.dumps(rows, indent=1) + "\n").encode()


def _parquet(rows: Sequence[Row]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(list(rows)), sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _pyarrow() -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "parquet needs pyarrow; install it with: pip install 'synflow-bench[parquet]'"
        ) from error


_WRITERS: dict[str, Callable[[Sequence[Row]], bytes]] = {".csv": _csv, ".parquet": _parquet, ".json": _json}
_READERS: dict[str, Callable[[bytes], list[Row]]] = {
    ".csv": _from_csv,
    ".parquet": _from_parquet,
    ".json": _from_json,
}
