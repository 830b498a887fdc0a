"""Protocols turn a cell into a record. The only package that imports both pruning and training."""

from synflow_bench.protocols.checkpoint import CellInterrupted, Checkpoints, Journal, StopRequest
from synflow_bench.protocols.context import (
    OnOutcome,
    Outcome,
    ProtocolSteps,
    PrunedNetwork,
    WorkerContext,
    dense_masks,
    examples_of,
    generator,
    network_of,
    scoring_data,
    training_of,
)
from synflow_bench.protocols.keeping import KeepFiles, weights_of
from synflow_bench.protocols.multishot import check_rewind
from synflow_bench.protocols.network import Network, blamed_on, build_network, check_network
from synflow_bench.protocols.protocol import (
    PROTOCOLS,
    OnCellEpoch,
    may_batch,
    prune_cell,
    run_cell,
    run_cells,
)
from synflow_bench.protocols.record import failed_record, plugins_of, provenance_of, revisions_of

__all__ = [
    "PROTOCOLS",
    "CellInterrupted",
    "Checkpoints",
    "Journal",
    "KeepFiles",
    "Network",
    "OnCellEpoch",
    "OnOutcome",
    "Outcome",
    "ProtocolSteps",
    "PrunedNetwork",
    "StopRequest",
    "WorkerContext",
    "blamed_on",
    "build_network",
    "check_network",
    "check_rewind",
    "dense_masks",
    "examples_of",
    "failed_record",
    "generator",
    "may_batch",
    "network_of",
    "plugins_of",
    "provenance_of",
    "prune_cell",
    "revisions_of",
    "run_cell",
    "run_cells",
    "scoring_data",
    "training_of",
    "weights_of",
]
