"""The harness's own plugin: it comes in by the same door as everyone's."""

from __future__ import annotations

from pathlib import Path

from synflow_bench.host import hookimpl

_PRESETS = Path(__file__).parent / "suites" / "presets"


@hookimpl
def synflow_bench_executors() -> dict[str, str]:
    """One cell after another in this process, or long-lived processes of this machine."""
    return {
        "serial": "synflow_bench.execution.serial:SerialExecutor",
        "local": "synflow_bench.execution.local:LocalExecutor",
    }


@hookimpl
def synflow_bench_suites() -> dict[str, Path]:
    """The presets, each a TOML file named as the suite is."""
    return {path.stem: path for path in sorted(_PRESETS.glob("*.toml"))}
