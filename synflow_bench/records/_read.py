"""Reading one record in full, with all that can be wrong with it said in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from synflow_bench.errors import RecordError
from synflow_bench.records._record import SCHEMA, Record, key_of
from synflow_bench.suites import faults


class OtherSchemaError(RecordError):
    """A record that another version can read: nothing is wrong with it."""


def read_record(path: Path) -> Record:
    """Read and validate one record, and check that its name is its key. Raises `RecordError`."""
    what = f"record {str(path)!r}"
    try:
        record = parse_record(path.read_bytes(), what)
    except OSError as error:
        raise RecordError(f"unreadable {what}: {error}; restore it or delete it") from error
    except OtherSchemaError:
        raise
    except RecordError as error:
        raise RecordError(f"{error}; restore it or delete it") from error
    if record.key != path.stem:
        raise RecordError(f"{what} says that its key is {record.key!r}; restore it or delete it")
    return record


def parse_record(data: bytes, what: str) -> Record:
    """The record in `data`, its key computed anew and compared; `what` names it in a `RecordError`."""
    try:
        record = Record.model_validate_json(data)
    except ValidationError as error:
        if other := _other_schema(data):
            raise OtherSchemaError(f"unreadable {what}: {other}") from error
        raise RecordError(f"unreadable {what}: {faults(error)[:300]}") from error
    if key_of(record.cell) != record.key:
        raise RecordError(f"{what} has a cell of another key: {key_of(record.cell)!r}, not {record.key!r}")
    return record


def _other_schema(data: bytes) -> str | None:
    """What to say of a record of another schema, where every other fault may follow from that one."""
    try:
        record = from_json(data)
        schema = record["schema"]
    except (ValueError, KeyError, TypeError):
        return None
    if schema == SCHEMA:
        return None
    return (
        f"schema: it is of schema {schema!r:.20}, this synflow-bench reads schema {SCHEMA}; "
        f"read it with the version that wrote it{_version(record)}, or keep it in another folder"
    )


def _version(record: Any) -> str:
    try:
        return f" ({record['provenance']['synflow_bench']!r:.20})"
    except (KeyError, TypeError):
        return ""
