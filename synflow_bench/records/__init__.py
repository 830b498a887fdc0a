"""Records: their schema, reading, the results folder that holds them, and sharing. Imports no torch."""

from synflow_bench.errors import printable, printable_lines
from synflow_bench.records.kept import KINDS, Kind, content_digest, facts_of, kept_path, read_kept, read_kinds
from synflow_bench.records.reading import Result, ResultReader, read_record
from synflow_bench.records.record import (
    LARGEST,
    SCHEMA,
    Cost,
    Engine,
    Epoch,
    Failure,
    Layer,
    Level,
    Metrics,
    Provenance,
    Record,
    Seconds,
    Status,
    Timing,
    json_schema,
    key_of,
)
from synflow_bench.records.sharing import (
    Comparison,
    compare_records,
    export_records,
    import_records,
    read_records,
)
from synflow_bench.records.store import Store, file_name

__all__ = [
    "KINDS",
    "LARGEST",
    "SCHEMA",
    "Comparison",
    "Cost",
    "Engine",
    "Epoch",
    "Failure",
    "Kind",
    "Layer",
    "Level",
    "Metrics",
    "Provenance",
    "Record",
    "Result",
    "ResultReader",
    "Seconds",
    "Status",
    "Store",
    "Timing",
    "compare_records",
    "content_digest",
    "export_records",
    "facts_of",
    "file_name",
    "import_records",
    "json_schema",
    "kept_path",
    "key_of",
    "printable",
    "printable_lines",
    "read_kept",
    "read_kinds",
    "read_record",
    "read_records",
]
