"""The plugin host: hook specifications, discovery, and the names that plugins register. Imports no torch."""

from synflow_bench.host._events import RunFinished, RunStarted
from synflow_bench.host._files import PluginFile
from synflow_bench.host._host import Host
from synflow_bench.host._markers import CONTRACT, PROJECT, hookimpl, hookspec
from synflow_bench.host._plugin import Plugin, Report, Status
from synflow_bench.host._registry import KINDS, Entry, Registry, short

__all__ = [
    "CONTRACT",
    "KINDS",
    "PROJECT",
    "Entry",
    "Host",
    "Plugin",
    "PluginFile",
    "Registry",
    "Report",
    "RunFinished",
    "RunStarted",
    "Status",
    "hookimpl",
    "hookspec",
    "short",
]
