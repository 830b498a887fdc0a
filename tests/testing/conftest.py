"""Faulty plugins as modules of this folder, and how their reports are read."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from synflow_bench.testing import Report

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def broken() -> Callable[[Report], list[str]]:
    """A function that returns the names of the rules that are broken."""
    return lambda report: [finding.rule for finding in report.failures]


@pytest.fixture
def skipped() -> Callable[[Report], dict[str, str]]:
    """A function that returns the reason of each skipped rule."""
    return lambda report: {
        finding.rule: finding.reason for finding in report.findings if finding.verdict == "skip"
    }
