"""The plugin host: hooks, the discovery of plugins, and the names that they register. Imports no torch."""

from synflow_bench.host.description import Description, description_of
from synflow_bench.host.hookspecs import CONTRACT, HOOKS, PROJECT, RunFinished, RunStarted, hookimpl, hookspec
from synflow_bench.host.host import Host
from synflow_bench.host.loading import FIRST_PARTY_ONLY
from synflow_bench.host.plugin_class import PluginClass, pruner_name
from synflow_bench.host.plugin_file import PluginFile
from synflow_bench.host.registry import KINDS, Entry, Plugin, PluginStatus, Registry, short

__all__ = [
    "CONTRACT",
    "FIRST_PARTY_ONLY",
    "HOOKS",
    "KINDS",
    "PROJECT",
    "Description",
    "Entry",
    "Host",
    "Plugin",
    "PluginClass",
    "PluginFile",
    "PluginStatus",
    "Registry",
    "RunFinished",
    "RunStarted",
    "description_of",
    "hookimpl",
    "hookspec",
    "pruner_name",
    "short",
]
