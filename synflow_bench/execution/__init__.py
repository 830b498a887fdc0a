"""Execution: skip what is recorded, dispatch the rest, collect records."""

from synflow_bench.execution._bench import make_bench
from synflow_bench.execution._changed import changed_files
from synflow_bench.execution._estimate import Crew, Estimate, by_setting, estimate, expected
from synflow_bench.execution._executor import Executor, ExecutorError, ExecutorFactory, OnEpoch, Resources
from synflow_bench.execution._plan import Plan, cells_of, make_plan
from synflow_bench.execution._pruners import installed_pruners, resolve_pruners
from synflow_bench.execution._run import Summary, run_plan
from synflow_bench.execution._settings import check_settings

__all__ = [
    "Crew",
    "Estimate",
    "Executor",
    "ExecutorError",
    "ExecutorFactory",
    "OnEpoch",
    "Plan",
    "Resources",
    "Summary",
    "by_setting",
    "cells_of",
    "changed_files",
    "check_settings",
    "estimate",
    "expected",
    "installed_pruners",
    "make_bench",
    "make_plan",
    "resolve_pruners",
    "run_plan",
]
