"""Loggers that are switched on by name: from `csv=logs` to what hears of runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from synflow_bench.errors import HandledError, PluginError
from synflow_bench.host._causes import one_line
from synflow_bench.host._contract import relay_of
from synflow_bench.host._judge import ContractBroken
from synflow_bench.host._plugin import Plugin
from synflow_bench.host._registry import Entry, Registry


def make_logger(loggers: Registry[Any], name: str, target: str, results: Path) -> Plugin:
    """The logger `name` as a plugin of its own, made to write to `target`; the empty one is its default.

    Raises `UnknownNameError`, `PluginError` for a factory that raises and for what hears nothing, and the
    `HandledError` of a logger that cannot work.
    """
    entry, factory = loggers.entry(name), loggers.get(name)
    given = f"{name}={target}" if target else name
    plugin = Plugin(given, entry.where, entry.distribution, entry.version, kind="logger")
    try:
        return replace(plugin, hooks=relay_of(_made(factory, entry, target, results)))
    except ContractBroken as error:
        raise PluginError(f"{plugin.title}: {error}") from error


def _made(factory: Any, entry: Entry, target: str, results: Path) -> object:
    try:
        made: object = factory(target, results)
    except HandledError:
        raise
    except Exception as error:
        raise PluginError(f"{entry.title} cannot be made: {one_line(error)}") from error
    return made
