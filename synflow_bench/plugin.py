"""The plugin of synflow-bench itself: its executors and suites are registered by the same hooks as others."""

from __future__ import annotations

from pathlib import Path

from synflow_bench.host import hookimpl

_PRESETS = Path(__file__).parent / "suites" / "presets"


@hookimpl
def synflow_bench_executors() -> dict[str, str]:
    """Register the executors: in this process, in local processes, on a Ray or on a Slurm cluster."""
    return {
        "serial": "synflow_bench.execution.executor:SerialExecutor",
        "local": "synflow_bench.execution.local:LocalExecutor",
        "ray": "synflow_bench.execution.ray:RayExecutor",
        "slurm": "synflow_bench.execution.slurm:SlurmExecutor",
    }


@hookimpl
def synflow_bench_suites() -> dict[str, Path]:
    """Register the presets, each a TOML file with the name of its suite."""
    return {path.stem: path for path in sorted(_PRESETS.glob("*.toml"))}
