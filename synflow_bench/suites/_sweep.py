"""Several values of a parameter at once: `synflow[rounds=1|10|100]` is three pruners."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

from synflow_bench.errors import SuiteError
from synflow_bench.suites._spec import read_pruner


def expand_pruners(given: Any) -> Any:
    """A list of pruners, strings or tables, with one table for each combination of a sweep's values.

    What cannot be read stays as it is, for whoever validates it.
    """
    if not isinstance(given, list | tuple):
        return given
    return [pruner for each in given for pruner in _expand(each)]


def _expand(pruner: Any) -> list[Any]:
    table = _table(pruner)
    parameters = table.get("parameters") if isinstance(table, Mapping) else None
    if not isinstance(parameters, Mapping):
        return [pruner]
    choices = [value if value and isinstance(value, list) else [value] for value in parameters.values()]
    picks = product(*choices)
    return [{**table, "parameters": dict(zip(parameters, pick, strict=True))} for pick in picks]


def _table(pruner: Any) -> Any:
    try:
        return read_pruner(pruner) if isinstance(pruner, str) else pruner
    except SuiteError:
        return pruner
