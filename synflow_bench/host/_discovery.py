"""From entry points to plugins, one by one: what one of them does cannot stop another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from importlib.metadata import Distribution, EntryPoint, distributions

from synflow_bench.host._contract import check_version, entries_of, hears_events, relay_of
from synflow_bench.host._files import PluginFile
from synflow_bench.host._judge import ContractBroken, judged
from synflow_bench.host._markers import PROJECT
from synflow_bench.host._plugin import Plugin
from synflow_bench.host._requirement import check_requirements
from synflow_bench.host._switches import DISABLE, Switches

_NOTHING = "its hooks give no names; return a mapping such as {'mine': Mine}"


def discover(switches: Switches) -> list[Plugin]:
    """Every plugin that is installed, by distribution and name, whatever its status."""
    found = sorted(_installed(), key=lambda found: (found[0].distribution, found[0].name))
    return [_join(*each, switches) for each in found]


def join_files(files: Iterable[PluginFile]) -> list[Plugin]:
    """A plugin for each file. One that cannot take part is at fault: whoever names it wants it."""
    named: dict[str, PluginFile] = {}
    return [_join_file(file, named.setdefault(file.module, file)) for file in dict.fromkeys(files)]


def _join_file(file: PluginFile, first: PluginFile) -> Plugin:
    def load(plugin: Plugin) -> Plugin:
        if file != first:
            raise ContractBroken(f"{first.given!r} has the same module name; rename one of them")
        return _loaded(plugin, file.load())

    plugin = Plugin(file.module, file.given, file.path.name, file.version, kind="plugin file")
    plugin = judged(plugin, load)
    if plugin.status == "quarantined":
        return replace(plugin, status="fault", cause=f"{plugin.cause}; mend it, or leave out --plugin")
    if plugin.status == "ok" and not plugin.entries and not hears_events(plugin):
        return replace(plugin, status="fault", cause=_NOTHING)
    return plugin


def _installed() -> Iterator[tuple[Plugin, EntryPoint, Distribution]]:
    seen = set()
    for distribution in distributions():
        points = _points(distribution)
        name = distribution.name if points else None
        if name and name not in seen:  # the first on the path is the one that imports
            seen.add(name)
            for point in points:
                yield _plugin(distribution, point), point, distribution


def _points(distribution: Distribution) -> list[EntryPoint]:
    try:
        return list(distribution.entry_points.select(group=PROJECT))
    except Exception:  # one malformed file, of whatever distribution, must not hide all plugins
        return []


def _plugin(distribution: Distribution, point: EntryPoint) -> Plugin:
    return Plugin(point.name, point.value, distribution.name, distribution.version)


def _join(plugin: Plugin, point: EntryPoint, distribution: Distribution, switches: Switches) -> Plugin:
    if switches.blocks(plugin):
        return replace(plugin, status="blocked", cause=f"by {DISABLE}")
    plugin = judged(plugin, partial(_load, point, distribution))
    return plugin if plugin.status == "ok" else replace(plugin, remedy=f"mend it, or name it in {DISABLE}")


def _load(point: EntryPoint, distribution: Distribution, plugin: Plugin) -> Plugin:
    check_requirements(distribution.requires)
    return _loaded(plugin, point.load())


def _loaded(plugin: Plugin, implementation: object) -> Plugin:
    check_version(implementation)
    plugin = replace(plugin, hooks=relay_of(implementation))
    return replace(plugin, entries=tuple(entries_of(plugin)))
