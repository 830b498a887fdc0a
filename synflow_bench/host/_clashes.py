"""Names that more than one plugin claims: no silent winner."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from synflow_bench.host._plugin import Plugin
from synflow_bench.host._switches import DISABLE

Owners = Mapping[tuple[str, str], Sequence[Plugin]]
"""Which plugins claim a kind's name."""


def mark_clashes(plugins: Iterable[Plugin]) -> list[Plugin]:
    """The same plugins; those that claim one name are all at fault, each naming another."""
    plugins = list(plugins)
    owners = defaultdict(list)
    for plugin in plugins:
        for entry in plugin.entries:
            owners[entry.kind, entry.name].append(plugin)
    return [_judged(plugin, owners) for plugin in plugins]


def _judged(plugin: Plugin, owners: Owners) -> Plugin:
    for entry in plugin.entries:
        for other in owners[entry.kind, entry.name]:
            if other is not plugin:
                return replace(plugin, status="fault", cause=clash(entry.kind, entry.name, other.title))
    return plugin


def clash(kind: str, name: str, other: str) -> str:
    """Why a name that `other` claims too cannot be used."""
    return f"{kind} {name!r} is also claimed by {other}; rename one, or block one by name in {DISABLE}"
