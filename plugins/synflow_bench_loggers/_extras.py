"""Optional dependencies."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from synflow_bench.errors import UsageError


def need(logger: str, module: str) -> Any:
    """Import `module` for a logger; raises `UsageError` with the way out where its package is missing."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"logger {logger!r} needs {error.name}, which is not installed; "
            f"pip install 'synflow-bench[{logger}]', or leave out --log {logger}"
        ) from error
