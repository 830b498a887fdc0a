"""What a leaderboard needs of a record, read several times quicker than all of it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, NotRequired

from pydantic import ConfigDict, TypeAdapter, with_config
from pydantic_core import from_json
from typing_extensions import TypedDict

from synflow_bench.records._agreement import Weights, disagreement, total
from synflow_bench.records._read import read_record
from synflow_bench.records._record import (
    SCHEMA,
    Failure,
    Metrics,
    Record,
    Status,
    Timing,
    canonical_identity,
    key_of_text,
)
from synflow_bench.suites import Cell, Count, canonical

_NUMBERS = re.compile(rb'\n  "compression": ([0-9.eE+-]+),\n  "seed": ([0-9]+),')
_GAP = "\x00"
"""Stands for a number in a canonical text; no name or parameter of a cell is this text alone."""


@dataclass(frozen=True, slots=True)
class Result:
    """A record without its layers, curve and provenance; `sha256` is that of its whole file, in hex."""

    key: str
    status: Status
    cell: Cell
    metrics: Metrics | None
    timing: Timing | None
    error: Failure | None
    sha256: str

    @classmethod
    def of(cls, record: Record, digest: str | None = None) -> Result:
        """The result in `record`; without a `digest`, that of the file which the store would write."""
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
    # What is not named here never becomes Python objects.
    schema: int
    key: str
    status: Status
    metrics: Metrics | None
    layers: list[_Layer]
    timing: Timing | None
    error: Failure | None


class ResultReader:
    """Reads results; what many cells share (setting, pruner, revisions) is validated once and kept."""

    def __init__(self) -> None:
        self._parse = TypeAdapter(_Head).validator.validate_json
        self._shared: dict[bytes, tuple[Mapping[str, Any], Callable[[Cell], str]]] = {}

    def read(self, path: str) -> Result:
        """The result in the file `path`.

        The file must be of our schema, under its own name and key, and keep the weights that its cell asks
        for; its curve and provenance are not checked. Raises `RecordError`.
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
            # The full reader takes every layout, and says best what is wrong.
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
        """The cell and its key."""
        if parts.alike not in self._shared:
            first = Cell.model_validate(from_json(b"{" + parts.cell + b"}")["cell"])
            fields = {name: getattr(first, name) for name in Cell.model_fields}
            self._shared[parts.alike] = fields, _key_function(first)
        shared, key_of = self._shared[parts.alike]
        cell = Cell.model_validate({**shared, "compression": parts.compression, "seed": parts.seed})
        return cell, key_of(cell)


class _Parts(NamedTuple):
    """A record's text: without cell and curve; its cell; and the cell without its own numbers."""

    head: bytes
    cell: bytes
    alike: bytes
    compression: float
    seed: int


def _split(data: bytes) -> _Parts:
    """Take apart a file that is laid out as `Record.to_json` does it; another is a `ValueError`.

    A line that begins with so many spaces and a quote is a key at that depth: strings hold no line ends.
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
        alike=data[cell:numbers] + data[after:metrics],
        compression=float(found[1]),
        seed=int(found[2]),
    )


def _agrees(cell: Cell, metrics: Metrics, layers: list[_Layer]) -> bool:
    weights = [Weights(layer["size"], layer["kept"], layer.get("effective_kept")) for layer in layers]
    return not any(each.fault for each in weights) and not disagreement(cell, metrics, total(weights))


def _key_function(like: Cell) -> Callable[[Cell], str]:
    """`key_of` for cells that differ from `like` in compression and seed alone, ten times as quick."""
    text = canonical_identity({**like.identity(), "compression": _GAP, "seed": _GAP})
    before, between, after = text.split(canonical(_GAP))
    return lambda cell: key_of_text(f"{before}{cell.compression!r}{between}{cell.seed!r}{after}")
