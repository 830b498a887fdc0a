"""From entry points to plugins, one by one: what one of them does cannot stop another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from importlib.metadata import Distribution, EntryPoint, distributions

from synflow_bench.host._contract import check_version, entries_of, relay_of
from synflow_bench.host._judge import judged
from synflow_bench.host._markers import PROJECT
from synflow_bench.host._plugin import Plugin
from synflow_bench.host._switches import DISABLE, Switches


def discover(switches: Switches) -> list[Plugin]:
    """Every plugin that is installed, by distribution and name, whatever its status."""
    found = sorted(_installed(), key=lambda pair: (pair[0].distribution, pair[0].name))
    return [_join(plugin, point, switches) for plugin, point in found]


def _installed() -> Iterator[tuple[Plugin, EntryPoint]]:
    seen = set()
    for distribution in distributions():
        points = _points(distribution)
        name = distribution.name if points else None
        if name and name not in seen:  # the first on the path is the one that imports
            seen.add(name)
            for point in points:
                yield _plugin(distribution, point), point


def _points(distribution: Distribution) -> list[EntryPoint]:
    try:
        return list(distribution.entry_points.select(group=PROJECT))
    except Exception:  # one malformed file, of whatever distribution, must not hide all plugins
        return []


def _plugin(distribution: Distribution, point: EntryPoint) -> Plugin:
    return Plugin(point.name, point.value, distribution.name, distribution.version)


def _join(plugin: Plugin, point: EntryPoint, switches: Switches) -> Plugin:
    if switches.blocks(plugin):
        return replace(plugin, status="blocked", cause=f"by {DISABLE}")
    return judged(plugin, partial(_load, point))


def _load(point: EntryPoint, plugin: Plugin) -> Plugin:
    implementation = point.load()
    check_version(implementation)
    plugin = replace(plugin, hooks=relay_of(implementation))
    return replace(plugin, entries=tuple(entries_of(plugin)))
