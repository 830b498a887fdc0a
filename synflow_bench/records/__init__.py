"""Records: their schema, reading, the results folder that holds them, and sharing. Imports no torch."""

from synflow_bench.records.reading import (
    Result,
    ResultReader,
    printable,
    printable_lines,
    read_record,
    read_status,
)
from synflow_bench.records.record import (
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
from synflow_bench.records.sharing import Comparison, compare_records, export_records, import_records
from synflow_bench.records.store import Store, file_name

__all__ = [
    "SCHEMA",
    "Comparison",
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
    "compare_records",
    "export_records",
    "file_name",
    "import_records",
    "json_schema",
    "key_of",
    "printable",
    "printable_lines",
    "read_record",
    "read_status",
]
