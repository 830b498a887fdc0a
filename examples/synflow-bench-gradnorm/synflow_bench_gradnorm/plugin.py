"""What the entry point names. A "module:attr" string is imported when it is used: listing stays quick."""

from __future__ import annotations

from synflow_bench import hookimpl


@hookimpl
def synflow_bench_pruners() -> dict[str, str]:
    """Names and where their classes are."""
    return {"gradnorm": "synflow_bench_gradnorm.gradnorm:GradNorm"}
