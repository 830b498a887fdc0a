"""A plugin of pytest with one fixture; a project turns it on in its conftest.py:

pytest_plugins = ["synflow_bench.testing.pytest_plugin"]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from synflow_bench.testing._check import check_dataset, check_model, check_pruner
from synflow_bench.testing._rule import Report

_CHECKS: dict[str, Callable[[Any], Report]] = {
    "pruner": check_pruner,
    "model": check_model,
    "dataset": check_dataset,
}

Conforms = Callable[..., Report]


@pytest.fixture
def conforms() -> Conforms:
    """Fails a test with every broken rule, one a line; gives the report where all are kept.

    Takes an installed name, or the class or factory itself:

        def test_gradnorm_keeps_the_contract(conforms):
            conforms(pruner="gradnorm")
    """
    return _conforms


def _conforms(**subject: Any) -> Report:
    __tracebackhide__ = True
    ((kind, given),) = subject.items()
    if kind not in _CHECKS:
        raise TypeError(f"unknown kind {kind!r}; known: {', '.join(_CHECKS)}")
    report = _CHECKS[kind](given)
    if not report.passed:
        lines = (f"{finding.rule}: {finding.reason}" for finding in report.failures)
        pytest.fail("\n".join((f"{kind} {report.name!r} breaks rules:", *lines)), pytrace=False)
    return report
