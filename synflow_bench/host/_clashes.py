"""Names that more than one plugin claims: no silent winner."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from synflow_bench.host._plugin import Plugin
from synflow_bench.host._switches import DISABLE

Owners = Mapping[tuple[str, str], Sequence[Plugin]]
"""Which plugins claim a kind's name."""

_OF_INSTALLED = f"rename one, or block one by name in {DISABLE}"
_OF_FILES = "rename it in the file, or leave out --plugin"


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
                files = "plugin file" in (plugin.kind, other.kind)
                cause = clash(entry.kind, entry.name, other.title, files=files)
                return replace(plugin, status="fault", cause=cause)
    return plugin


def clash(kind: str, name: str, other: str, *, files: bool) -> str:
    """Why a name that `other` claims too cannot be used; `files` says whether a plugin file claims it."""
    way_out = _OF_FILES if files else _OF_INSTALLED
    return f"{kind} {name!r} is also claimed by {other}; {way_out}"
