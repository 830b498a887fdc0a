"""Loggers through the host, as a run has them."""

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
    """Have a logger hear of records, epoch by epoch, and of the end: `log("csv=DIR", *records)`.

    Records named in `unfinished` have epochs and no end. Gives what was reported.
    """

    def log(given: str, *records: Record, unfinished: tuple[Record, ...] = ()) -> list[str]:
        told: list[str] = []
        host = Host.load(report=told.append, environment={})
        name, _, target = given.partition("=")
        host.add_logger(name, target, results)
        for record in (*records, *unfinished):
            for epoch in record.curve:
                host.epoch_finished(record.cell, epoch)
            if record not in unfinished:
                host.cell_finished(record)
        host.run_finished(RunFinished(results, cells=len(records), recorded=0, ok=1, failed=0, skipped=0))
        return told

    return log


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A Python in which a module is not installed."""
    return lambda module: monkeypatch.setitem(sys.modules, module, None)
