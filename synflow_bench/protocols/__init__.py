"""Protocols: a cell in, a record out. The only room that knows both pruning and training."""

from synflow_bench.protocols._bench import Bench
from synflow_bench.protocols._multishot import check_rewind
from synflow_bench.protocols._provenance import plugins_of, provenance_of
from synflow_bench.protocols._record import failed_record
from synflow_bench.protocols._run import may_share, run_cell, run_cells

__all__ = [
    "Bench",
    "check_rewind",
    "failed_record",
    "may_share",
    "plugins_of",
    "provenance_of",
    "run_cell",
    "run_cells",
]
