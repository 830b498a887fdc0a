"""Protocols: a cell in, a record out. The only room that knows both pruning and training."""

from synflow_bench.protocols._bench import Bench
from synflow_bench.protocols._multishot import check_rewind
from synflow_bench.protocols._network import Network, build_network
from synflow_bench.protocols._provenance import plugins_of, provenance_of
from synflow_bench.protocols._record import failed_record
from synflow_bench.protocols._run import may_share, run_cell, run_cells
from synflow_bench.protocols._stages import (
    everything,
    examples_of,
    generator,
    network_of,
    scoring_data,
    size_of,
    training_of,
)
from synflow_bench.protocols._trial import check_network

__all__ = [
    "Bench",
    "Network",
    "build_network",
    "check_network",
    "check_rewind",
    "everything",
    "examples_of",
    "failed_record",
    "generator",
    "may_share",
    "network_of",
    "plugins_of",
    "provenance_of",
    "run_cell",
    "run_cells",
    "scoring_data",
    "size_of",
    "training_of",
]
