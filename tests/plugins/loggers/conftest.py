"""Loggers that get their events from a host, as in a run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from synflow_bench.host import Host, RunFinished
from synflow_bench.records import Record

Log = Callable[..., list[str]]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


@pytest.fixture
def log(results: Path) -> Log:
    """Send records to a logger, epoch by epoch, and the end of the run: `log("csv=DIR", *records)`.

    Records in `unfinished` have epochs but no end. Returns the warnings of the host.
    """

    def log(given: str, *records: Record, unfinished: tuple[Record, ...] = ()) -> list[str]:
        warnings: list[str] = []
        host = Host.load(report=warnings.append, environment={})
        name, _, target = given.partition("=")
        host.add_logger(name, target, results)
        for record in (*records, *unfinished):
            for epoch in record.curve:
                host.epoch_finished(record.cell, epoch)
            if record not in unfinished:
                host.cell_finished(record)
        host.run_finished(RunFinished(results, cells=len(records), recorded=0, ok=1, failed=0, skipped=0))
        return warnings

    return log


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make a module look as if it were not installed: `without("wandb")`."""
    return lambda module: monkeypatch.setitem(sys.modules, module, None)
