"""The commands that plugins add to the command line."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import click

from synflow_bench.host._clashes import clash
from synflow_bench.host._judge import ContractBroken, judged
from synflow_bench.host._plugin import Plugin
from synflow_bench.host._registry import Entry

KIND = "command"


def with_commands(plugin: Plugin, taken: Collection[str]) -> Plugin:
    """The plugin with its commands among its entries; a name of `taken` is a breach of the contract."""

    def ask(plugin: Plugin) -> Plugin:
        group = click.Group()
        plugin.call("synflow_bench_commands", group=group)
        for name in group.commands:
            if name in taken:
                files = plugin.kind == "plugin file"
                raise ContractBroken(clash(KIND, name, "synflow-bench itself", files=files))
        return replace(plugin, entries=(*plugin.entries, *_entries(plugin, group)))

    return judged(plugin, ask)


def _entries(plugin: Plugin, group: click.Group) -> list[Entry]:
    return [
        Entry(KIND, name, command, plugin.name, plugin.distribution, plugin.version)
        for name, command in group.commands.items()
    ]
