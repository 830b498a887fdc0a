"""Execution: skip what is recorded, dispatch the rest, collect records."""

from synflow_bench.execution.claims import CellClaims, SharedCells, shard_of, shared_cells
from synflow_bench.execution.estimate import TimeEstimate, estimate
from synflow_bench.execution.executor import (
    DetachedError,
    Executor,
    ExecutorError,
    ExecutorFactory,
    Resources,
    SerialExecutor,
    Summary,
    make_context,
    run_plan,
)
from synflow_bench.execution.local import LocalExecutor
from synflow_bench.execution.plan import (
    Plan,
    cells_of,
    changed_files,
    check_settings,
    installed_pruners,
    make_plan,
    resolve_datasets,
    resolve_pruners,
)
from synflow_bench.protocols import OnCellEpoch

__all__ = [
    "CellClaims",
    "DetachedError",
    "Executor",
    "ExecutorError",
    "ExecutorFactory",
    "LocalExecutor",
    "OnCellEpoch",
    "Plan",
    "Resources",
    "SerialExecutor",
    "SharedCells",
    "Summary",
    "TimeEstimate",
    "cells_of",
    "changed_files",
    "check_settings",
    "estimate",
    "installed_pruners",
    "make_context",
    "make_plan",
    "resolve_datasets",
    "resolve_pruners",
    "run_plan",
    "shard_of",
    "shared_cells",
]
