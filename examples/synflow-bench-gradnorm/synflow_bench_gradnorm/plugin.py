"""The module that the entry point names.

A "module:attr" string is imported only when the pruner is used, which keeps commands such as `list` fast.
"""

from __future__ import annotations

from synflow_bench import hookimpl


@hookimpl
def synflow_bench_pruners() -> dict[str, str]:
    """Return the name of each pruner and the reference to its class."""
    return {"gradnorm": "synflow_bench_gradnorm.gradnorm:GradNorm"}
