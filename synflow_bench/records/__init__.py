"""What cells gave: the schema of a record, and the folder that holds them. Imports no torch."""

from synflow_bench.records._printable import printable, printable_lines
from synflow_bench.records._read import parse_record, read_record
from synflow_bench.records._record import (
    SCHEMA,
    Engine,
    Epoch,
    Failure,
    Layer,
    Level,
    Metrics,
    Provenance,
    Record,
    Status,
    Timing,
    json_schema,
    key_of,
)
from synflow_bench.records._result import Result, ResultReader
from synflow_bench.records._status import read_status
from synflow_bench.records._store import Store, file_name, write_atomically

__all__ = [
    "SCHEMA",
    "Engine",
    "Epoch",
    "Failure",
    "Layer",
    "Level",
    "Metrics",
    "Provenance",
    "Record",
    "Result",
    "ResultReader",
    "Status",
    "Store",
    "Timing",
    "file_name",
    "json_schema",
    "key_of",
    "parse_record",
    "printable",
    "printable_lines",
    "read_record",
    "read_status",
    "write_atomically",
]
