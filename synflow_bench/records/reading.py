"""Reading records: in full, or quickly for a board.

`read_record` validates everything. `ResultReader` reads the parts that a leaderboard needs several times as
fast, and leaves every file that is unusual to the full reader. Both compare the file with the sha256 in it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, NotRequired

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from pydantic_core import from_json
from typing_extensions import TypedDict

from synflow_bench.errors import RecordError
from synflow_bench.files import open_regular
from synflow_bench.records.record import (
    LARGEST,
    SCHEMA,
    Cost,
    Failure,
    Metrics,
    Record,
    Status,
    Timing,
    WeightCounts,
    canonical_identity,
    disagreement,
    is_intact,
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
        record = parse_record(read_content(str(path)), what)
    except OSError as error:
        reason = error.strerror or error
        raise RecordError(f"unreadable {what}: {reason}; restore it or delete it") from error
    except OtherSchemaError:
        raise
    except RecordError as error:
        raise RecordError(f"{error}; restore it or delete it") from error
    if record.key != path.stem:
        raise RecordError(f"{what} says that its key is {record.key!r}; restore it or delete it")
    return record


def read_content(path: str) -> bytes:
    """Read the file of a record.

    Raises:
        OSError: It cannot be read, or is not a regular file.
        RecordError: It is too large for a record.
    """
    with open_regular(path) as file:  # a Path, or a buffer, costs as much as the reading
        size = os.fstat(file.fileno()).st_size
        if size > LARGEST:
            raise RecordError(f"record {path!r} has {size} bytes; the most are {LARGEST}")
        return file.read()


def parse_record(data: bytes, what: str) -> Record:
    """Validate the JSON of a record, and compare it with its sha256, and its key with that of its cell.

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
        raise RecordError(f"unreadable {what}: {_problems(error)}") from error
    if key_of(record.cell) != record.key:
        raise RecordError(f"{what} has a cell of another key: {key_of(record.cell)!r}, not {record.key!r}")
    if not is_intact(data, record.sha256):
        raise RecordError(f"{what} does not have its sha256: it was changed after it was written")
    return record


def _problems(error: ValidationError) -> str:
    if error.error_count() > _MOST_PROBLEMS:  # a line for each could fill the memory
        return f"it has {error.error_count()} problems"
    return validation_message(error)[:300]


_MOST_PROBLEMS = 1000


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
    cost: Cost | None = None

    @property
    def outcome(self) -> str:
        """The status; `not defined` for a cell that was skipped because its method is not defined there."""
        return "not defined" if self.error and self.error.not_defined else self.status

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
            cost=record.cost,
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
    sha256: NotRequired[str | None]
    status: Status
    metrics: Metrics | None
    layers: list[_Layer]
    timing: Timing | None
    cost: NotRequired[Cost | None]
    error: Failure | None


class ResultReader:
    """Reads results; the parts that many cells share (setting, pruner, revisions) are validated only once."""

    def __init__(self) -> None:
        self._parse = TypeAdapter(_Head).validator.validate_json
        self._shared: dict[bytes, tuple[Mapping[str, Any], Callable[[Cell], str]]] = {}

    def read(self, path: str, *, in_full: bool = False) -> Result:
        """Read the result in the file `path`.

        Args:
            path: The file.
            in_full: Check the curve and the provenance even in a file without a sha256.

        Raises:
            RecordError: The file cannot be read, is of another schema, is not under its own key, does not
                have its sha256, or does not keep the weights that its cell asks for.
        """
        data = b""
        try:
            data = read_content(path)
            result = self._result(data, in_full)
        except (OSError, ValueError, KeyError):
            result = None
        if result is None or not path.endswith(f"{os.sep}{result.key}.json"):
            # The full reader accepts every layout, and describes best what is wrong.
            return Result.of(read_record(Path(path)), sha256(data).hexdigest())
        return result

    def _result(self, data: bytes, in_full: bool) -> Result | None:
        parts = _split(data)
        head = self._parse(parts.head)
        given = head.get("sha256")
        if not is_intact(data, given) or (in_full and not given) or not (given or _is_older(parts.head)):
            return None
        cell, key = self._cell(parts)
        status, metrics, error = head["status"], head["metrics"], head["error"]
        complete = metrics if status == "ok" else error
        if head["schema"] != SCHEMA or head["key"] != key or complete is None:
            return None
        if metrics is not None and (status != "ok" or not _agrees(cell, metrics, head["layers"])):
            return None
        digest = sha256(data).hexdigest()
        return Result(key, status, cell, metrics, head["timing"], error, digest, head.get("cost"))

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


def _is_older(head: bytes) -> bool:
    """Return True if there is nothing where the sha256 is; a damaged name of it is no field that is read."""
    return _WITHOUT_SHA256.match(head) is not None


_WITHOUT_SHA256 = re.compile(rb'\{\n "schema": [0-9]+,\n "key": "[0-9a-f]{16}",\n "status": ')


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
