"""Faulty plugins for the kit, as modules of this folder."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from synflow_bench.testing import Report

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def broken() -> Callable[[Report], list[str]]:
    """The names of the rules that a report finds broken."""

    def broken(report: Report) -> list[str]:
        return [finding.rule for finding in report.failures]

    return broken
