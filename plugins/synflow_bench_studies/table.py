"""Tidy tables: rows of equal columns, read from and written to CSV, Parquet or JSON. Imports no torch."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from synflow_bench.errors import UsageError

Row = dict[str, Any]
"""One observation: names, numbers, and None for a missing value."""

_SHARED = ("dataset", "model", "seed", "pruner", "rounds", "schedule")
_TEXTS = frozenset({"dataset", "model", "pruner", "schedule", "layer"})


def aligned(rows: Sequence[Row]) -> list[Row]:
    """Give every row the columns of all rows, with None where it has no value."""
    columns = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in columns} for row in rows]


def table_bytes(rows: Sequence[Row], path: Path) -> bytes:
    """Encode rows in the format that the suffix of `path` names: .csv, .parquet or .json."""
    return _WRITERS[check_table_path(path)](rows)


def check_table_path(path: Path) -> str:
    """Return the suffix of `path`.

    Raises:
        UsageError: The suffix names no table format, or the format's library is not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in _WRITERS:
        raise UsageError(f"no table format has the suffix of {str(path)!r}; use one of {', '.join(_WRITERS)}")
    if suffix == ".parquet":
        _check_pyarrow()
    return suffix


def read_table(path: Path) -> list[Row]:
    """Read the rows that `table_bytes` wrote.

    Raises:
        UsageError: The file cannot be read, or it has no rows.
    """
    suffix = check_table_path(path)
    try:
        rows = _READERS[suffix](path.read_bytes())
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"cannot read table {str(path)!r}: {error}") from error
    if not rows:
        raise UsageError(f"table {str(path)!r} has no rows; leave it out")
    return rows


@dataclass(frozen=True)
class Columns:
    """The columns of a study's table, besides those that all studies have.

    `drawn` have a number in every row, which the chart needs; `others` may be empty.
    """

    drawn: tuple[str, ...]
    others: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All columns, each once."""
        return tuple(dict.fromkeys((*_SHARED, *self.drawn, *self.others)))

    def missing(self, row: Row) -> list[str]:
        """List the columns that `row` lacks."""
        return [name for name in self.names if name not in row]

    def invalid(self, row: Row) -> str | None:
        """Describe the first invalid value of `row`, which lacks no column; None if all are valid."""
        for name in self.names:
            value = row[name]
            if name not in _TEXTS and not (_is_number(value) or (value is None and name not in self.drawn)):
                return f"{name} is {value!r}, not a number"
        if "size" in self.names and row["size"] <= 0:
            return f"size is {row['size']!r}, but every layer has weights"
        return None


def check_columns(study: str, tables: Mapping[str, Columns], rows: Sequence[Row], source: str) -> None:
    """Check that `rows`, read from the file `source`, are a table of `study`, one of `tables`.

    Raises:
        UsageError: A row lacks a column or has an invalid value.
    """
    columns = tables[study]
    for number, row in enumerate(rows, start=1):
        if missing := columns.missing(row):
            others = [f"a table of {name}" for name, other in tables.items() if not other.missing(row)]
            advice = (
                f"it is {' or '.join(others)}" if others else f"make one with `synflow-bench study {study}`"
            )
            lacks = f"row {number} lacks {', '.join(missing)}"
            raise UsageError(f"{source!r} is not a table of {study}: {lacks}; {advice}")
        if invalid := columns.invalid(row):
            advice = "correct or remove that row"
            raise UsageError(f"{source!r} is not a table of {study}: in row {number}, {invalid}; {advice}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


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
        raise ValueError("it is not a JSON list of objects, one per row")
    return rows


def _from_parquet(content: bytes) -> list[Row]:
    import pyarrow.parquet as pq

    rows: list[Row] = pq.read_table(io.BytesIO(content)).to_pylist()
    return rows


def _to_csv(rows: Sequence[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _to_json(rows: Sequence[Row]) -> bytes:
    return (json.dumps(rows, indent=1) + "\n").encode()


def _to_parquet(rows: Sequence[Row]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(list(rows)), sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _check_pyarrow() -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "parquet needs pyarrow; install it with: pip install 'synflow-bench[parquet]'"
        ) from error


_WRITERS: dict[str, Callable[[Sequence[Row]], bytes]] = {
    ".csv": _to_csv,
    ".parquet": _to_parquet,
    ".json": _to_json,
}
_READERS: dict[str, Callable[[bytes], list[Row]]] = {
    ".csv": _from_csv,
    ".parquet": _from_parquet,
    ".json": _from_json,
}
