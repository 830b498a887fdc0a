"""The plugin of synflow-bench itself: its executors and suites are registered by the same hooks as others."""

from __future__ import annotations

from pathlib import Path

from synflow_bench.host import hookimpl

_PRESETS = Path(__file__).parent / "suites" / "presets"


@hookimpl
def synflow_bench_executors() -> dict[str, str]:
    """Register the executors: one cell after another in this process, or a pool of local processes."""
    return {
        "serial": "synflow_bench.execution.executor:SerialExecutor",
        "local": "synflow_bench.execution.local:LocalExecutor",
    }


@hookimpl
def synflow_bench_suites() -> dict[str, Path]:
    """Register the presets, each a TOML file with the name of its suite."""
    return {path.stem: path for path in sorted(_PRESETS.glob("*.toml"))}
