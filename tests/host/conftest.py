"""A host whose warnings are kept, over the distributions of one test."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from synflow_bench.host import Host, Plugin

LoadHost = Callable[..., Host]


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def load(warnings: list[str]) -> LoadHost:
    """Load a host; keyword arguments are environment variables."""

    def load(**environment: str) -> Host:
        return Host.load(report=warnings.append, environment=environment)

    return load


@pytest.fixture
def find() -> Callable[[Host, str], Plugin]:
    """Return the plugin of a distribution."""

    def find(host: Host, distribution: str) -> Plugin:
        return next(plugin for plugin in host.plugins if plugin.distribution == distribution)

    return find
