"""Where and with what a record was made."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import torch

from synflow_bench import __version__
from synflow_bench.host import Host
from synflow_bench.records import Engine, Provenance
from synflow_bench.suites import Cell
from synflow_bench.training import describe


def provenance_of(
    device: torch.device,
    threads: int,
    plugins: Mapping[str, str],
    score_dtype: str | None = None,
    engine: Engine | None = None,
) -> Provenance:
    """The provenance of a record made now, in this process."""
    return Provenance(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        synflow_bench=__version__,
        torch=torch.__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        device=_processor() if device.type == "cpu" else describe(device),
        threads=threads,
        score_dtype=score_dtype,
        engine=engine,
        plugins=dict(plugins),
    )


def plugins_of(cell: Cell, host: Host) -> dict[str, str]:
    """The distributions and versions of what `cell` uses."""
    setting = cell.setting
    used = {"dataset": (host.datasets, setting.dataset), "model": (host.models, setting.model.name)}
    if not cell.is_dense:
        used["pruner"] = (host.pruners, cell.pruner.name)
    entries = {kind: registry.entry(name) for kind, (registry, name) in used.items() if name in registry}
    return {kind: f"{entry.distribution} {entry.version}" for kind, entry in entries.items()}


@cache
def _processor() -> str:
    """The processor's model where Linux tells it: a long text where there are many cores."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return f"cpu ({platform.machine()})"
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"cpu ({models[0]})" if models else f"cpu ({platform.machine()})"
