"""The switches that a user sets in the environment."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from synflow_bench.errors import did_you_mean
from synflow_bench.host._plugin import Plugin

STRICT = "SYNFLOW_BENCH_STRICT"
"""Set to 1, a plugin that raises is an error and not a warning."""

DISABLE = "SYNFLOW_BENCH_DISABLE"
"""Plugins to leave out: names of entry points or of distributions, with commas between."""


@dataclass(frozen=True)
class Switches:
    """Whether to be `strict`, and which plugins are `disabled`."""

    strict: bool = False
    disabled: tuple[str, ...] = ()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read both variables."""
        disabled = (name.strip() for name in environment.get(DISABLE, "").split(","))
        strict = environment.get(STRICT, "").strip() not in ("", "0")
        return cls(strict=strict, disabled=tuple(name for name in disabled if name))

    def blocks(self, plugin: Plugin) -> bool:
        """Whether the plugin, or its distribution in any spelling, is disabled."""
        return any(_matches(name, plugin) for name in self.disabled)

    def idle(self, plugins: Iterable[Plugin]) -> Iterator[str]:
        """One line for each disabled name that no plugin has."""
        plugins = list(plugins)
        known = {plugin.name for plugin in plugins} | {plugin.distribution for plugin in plugins}
        for name in self.disabled:
            if not any(_matches(name, plugin) for plugin in plugins):
                yield f"{DISABLE} names {name!r}, which is no plugin; {did_you_mean(name, known)}"


def _matches(name: str, plugin: Plugin) -> bool:
    return name == plugin.name or _normal(name) == _normal(plugin.distribution)


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()
