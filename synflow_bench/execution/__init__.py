"""Execution: skip what is recorded, dispatch the rest, collect records."""

from synflow_bench.execution._changed import changed_files
from synflow_bench.execution._estimate import Estimate, estimate
from synflow_bench.execution._executor import Executor, ExecutorError, ExecutorFactory, OnEpoch, Resources
from synflow_bench.execution._plan import Plan, cells_of, make_plan
from synflow_bench.execution._pruners import installed_pruners, resolve_pruners
from synflow_bench.execution._run import Summary, run_plan

__all__ = [
    "Estimate",
    "Executor",
    "ExecutorError",
    "ExecutorFactory",
    "OnEpoch",
    "Plan",
    "Resources",
    "Summary",
    "cells_of",
    "changed_files",
    "estimate",
    "installed_pruners",
    "make_plan",
    "resolve_pruners",
    "run_plan",
]
