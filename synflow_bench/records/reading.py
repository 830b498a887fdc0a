"""Reading records: in full, quickly for a board, or only their status; and recorded text, safe to print.

`read_record` validates everything. `ResultReader` reads the parts that a leaderboard needs several times as
fast, and leaves every file that is unusual to the full reader. `read_status` looks at the status alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple, NotRequired

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, with_config
from pydantic_core import from_json
from typing_extensions import TypedDict

from synflow_bench.errors import RecordError
from synflow_bench.records.record import (
    SCHEMA,
    Failure,
    Metrics,
    Record,
    Status,
    Timing,
    WeightCounts,
    canonical_identity,
    disagreement,
    key_of,
    key_of_text,
    sum_weights,
)
from synflow_bench.suites import Cell, Count, canonical, validation_message


class OtherSchemaError(RecordError):
    """A record of another schema version: nothing is wrong with it."""


def read_record(path: Path) -> Record:
    """Read and validate one record, and check that its file has the name of its key.

    Raises:
        RecordError: The file cannot be read or is not a valid record.
    """
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
    """Validate the JSON of a record, and compare its key with that of its cell.

    Args:
        data: The JSON.
        what: The name of the record in error messages.

    Raises:
        RecordError: The data is not a valid record.
    """
    try:
        record = Record.model_validate_json(data)
    except ValidationError as error:
        if other := _other_schema(data):
            raise OtherSchemaError(f"unreadable {what}: {other}") from error
        raise RecordError(f"unreadable {what}: {validation_message(error)[:300]}") from error
    if key_of(record.cell) != record.key:
        raise RecordError(f"{what} has a cell of another key: {key_of(record.cell)!r}, not {record.key!r}")
    return record


def _other_schema(data: bytes) -> str | None:
    """Describe a record of another schema, from which all its other problems may follow."""
    try:
        record = from_json(data)
        schema = record["schema"]
    except (ValueError, KeyError, TypeError):
        return None
    if schema == SCHEMA:
        return None
    try:
        version = f" ({record['provenance']['synflow_bench']!r:.20})"
    except (KeyError, TypeError):
        version = ""
    return (
        f"schema: it is of schema {schema!r:.20}, this synflow-bench reads schema {SCHEMA}; "
        f"read it with the version that wrote it{version}, or keep it in another folder"
    )


@dataclass(frozen=True, slots=True)
class Result:
    """A record without its layers, curve and provenance; `sha256` is that of the whole file, in hex."""

    key: str
    status: Status
    cell: Cell
    metrics: Metrics | None
    timing: Timing | None
    error: Failure | None
    sha256: str

    @classmethod
    def of(cls, record: Record, digest: str | None = None) -> Result:
        """Return the result in `record`; `digest` is by default that of the file that a store writes."""
        return cls(
            key=record.key,
            status=record.status,
            cell=record.cell,
            metrics=record.metrics,
            timing=record.timing,
            error=record.error,
            sha256=digest or sha256(record.to_json().encode()).hexdigest(),
        )


@with_config(ConfigDict(extra="ignore"))
class _Layer(TypedDict):
    size: Count
    kept: Count
    effective_kept: NotRequired[Count | None]


@with_config(ConfigDict(extra="ignore"))
class _Head(TypedDict):
    # Fields that are not named here never become Python objects.
    schema: int
    key: str
    status: Status
    metrics: Metrics | None
    layers: list[_Layer]
    timing: Timing | None
    error: Failure | None


class ResultReader:
    """Reads results; the parts that many cells share (setting, pruner, revisions) are validated only once."""

    def __init__(self) -> None:
        self._parse = TypeAdapter(_Head).validator.validate_json
        self._shared: dict[bytes, tuple[Mapping[str, Any], Callable[[Cell], str]]] = {}

    def read(self, path: str) -> Result:
        """Read the result in the file `path`; its curve and provenance are not checked.

        Raises:
            RecordError: The file cannot be read, is of another schema, is not under its own key, or does not
                keep the weights that its cell asks for.
        """
        data = b""
        try:
            # A Path, or a buffer, costs as much as the reading.
            with open(path, "rb", buffering=0) as file:  # noqa: PTH123
                data = file.read()
            result = self._result(data)
        except (OSError, ValueError, KeyError):
            result = None
        if result is None or not path.endswith(f"{os.sep}{result.key}.json"):
            # The full reader accepts every layout, and describes best what is wrong.
            return Result.of(read_record(Path(path)), sha256(data).hexdigest())
        return result

    def _result(self, data: bytes) -> Result | None:
        parts = _split(data)
        head = self._parse(parts.head)
        cell, key = self._cell(parts)
        status, metrics, error = head["status"], head["metrics"], head["error"]
        complete = metrics if status == "ok" else error
        if head["schema"] != SCHEMA or head["key"] != key or complete is None:
            return None
        if metrics is not None and (status != "ok" or not _agrees(cell, metrics, head["layers"])):
            return None
        return Result(key, status, cell, metrics, head["timing"], error, sha256(data).hexdigest())

    def _cell(self, parts: _Parts) -> tuple[Cell, str]:
        """Return the cell and its key."""
        if parts.shared not in self._shared:
            first = Cell.model_validate(from_json(b"{" + parts.cell + b"}")["cell"])
            fields = {name: getattr(first, name) for name in Cell.model_fields}
            self._shared[parts.shared] = fields, _key_function(first)
        shared, key_of = self._shared[parts.shared]
        cell = Cell.model_validate({**shared, "compression": parts.compression, "seed": parts.seed})
        return cell, key_of(cell)


class _Parts(NamedTuple):
    """The text of a record: without cell and curve; its cell; and the cell without its own two numbers."""

    head: bytes
    cell: bytes
    shared: bytes
    compression: float
    seed: int


_NUMBERS = re.compile(rb'\n  "compression": ([0-9.eE+-]+),\n  "seed": ([0-9]+),')


def _split(data: bytes) -> _Parts:
    """Split a file with the layout of `Record.to_json`; raise `ValueError` for another.

    A line that begins with so many spaces and a quote is a key at that depth: strings contain no line ends.
    """
    cell = data.index(b'\n "cell": {')
    numbers = data.index(b'\n  "compression": ', cell)
    after = data.index(b'\n  "ablation": ', numbers)
    metrics = data.index(b'\n "metrics": ', after)
    curve = data.index(b'\n "curve": ', metrics)
    timing = data.index(b'\n "timing": ', curve)
    found = _NUMBERS.fullmatch(data, numbers, after)
    if found is None:
        raise ValueError("the numbers of the cell are not where they should be")
    return _Parts(
        head=data[:cell] + data[metrics:curve] + data[timing:],
        cell=data[cell : metrics - 1],
        shared=data[cell:numbers] + data[after:metrics],
        compression=float(found[1]),
        seed=int(found[2]),
    )


def _agrees(cell: Cell, metrics: Metrics, layers: list[_Layer]) -> bool:
    weights = [WeightCounts(layer["size"], layer["kept"], layer.get("effective_kept")) for layer in layers]
    return not any(each.problem for each in weights) and not disagreement(cell, metrics, sum_weights(weights))


_GAP = "\x00"
"""Stands for a number in a canonical text; no name or parameter of a cell is this text alone."""


def _key_function(like: Cell) -> Callable[[Cell], str]:
    """Return `key_of` for cells that differ from `like` only in compression and seed, ten times as fast."""
    text = canonical_identity({**like.identity(), "compression": _GAP, "seed": _GAP})
    before, between, after = text.split(canonical(_GAP))
    return lambda cell: key_of_text(f"{before}{cell.compression!r}{between}{cell.seed!r}{after}")


class _StatusHead(BaseModel):
    model_config = ConfigDict(extra="ignore")

    schema_version: Literal[1] = Field(alias="schema")
    key: str
    status: Status


def read_status(path: Path) -> Status:
    """Read the status of the record in `path`; its other parts are not checked.

    Raises:
        RecordError: The file cannot be read, is no complete JSON, is of another schema or not under its own
            key.
    """
    try:
        head = _StatusHead.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise RecordError(f"unreadable record {str(path)!r}: {validation_message(error)[:300]}") from error
    except OSError as error:
        raise RecordError(f"unreadable record {str(path)!r}: {error}") from error
    if head.key != path.stem:
        raise RecordError(f"record {str(path)!r} says that its key is {head.key!r}")
    return head.status


def printable(text: str) -> str:
    """Return `text` in one line, with control characters replaced.

    Recorded text comes from plugins, and a terminal obeys control characters.

    Example:
        >>> printable("two\\nlines")
        'two lines'
    """
    return _replaced(" ".join(text.split()))


def printable_lines(text: str) -> str:
    """Return `text` with its lines and indentation, and with other control characters replaced."""
    return "\n".join(map(_replaced, text.expandtabs(4).splitlines()))


def _replaced(text: str) -> str:
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
