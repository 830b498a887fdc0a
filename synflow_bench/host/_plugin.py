"""One plugin: where it is from, what it provides, and whether it may take part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import pluggy

from synflow_bench.errors import PluginError
from synflow_bench.host._registry import Entry, short

Status = Literal["ok", "quarantined", "blocked", "fault"]
"""`quarantined`: it raised, the rest goes on. `blocked`: by the user. `fault`: it breaks the contract, or
cannot be had although this run names it."""

Kind = Literal["plugin", "plugin file", "logger"]
"""An entry point of a distribution, a file, or a logger that was switched on."""

Report = Callable[[str], None]
"""Takes one line for the user to read."""


@dataclass(frozen=True)
class Plugin:
    """An entry point and what came of it; `cause` says why its status is not `ok`, `remedy` what to do.

    Of a file, `reference` is its path as it was given, `distribution` its name and `version` its hash.
    """

    name: str
    reference: str
    distribution: str
    version: str
    kind: Kind = "plugin"
    status: Status = "ok"
    cause: str = ""
    remedy: str = ""
    entries: tuple[Entry, ...] = ()
    error: BaseException | None = field(default=None, repr=False, compare=False)
    hooks: pluggy.HookRelay | None = field(default=None, repr=False, compare=False)

    @property
    def title(self) -> str:
        """The plugin as messages name it."""
        if self.kind == "plugin file":
            return f"plugin file {self.reference!r}"
        return f"{self.kind} {self.name!r} of {self.distribution} {short(self.version)}"

    @property
    def provides(self) -> dict[str, list[str]]:
        """The names that it registers, by kind."""
        names: dict[str, list[str]] = {}
        for entry in self.entries:
            names.setdefault(entry.kind, []).append(entry.name)
        return names

    def call(self, hook: str, **arguments: object) -> list[Any]:
        """The plugin's answer to `hook` in a list; an empty one where it has none, or may not take part."""
        if self.status != "ok" or self.hooks is None:
            return []
        answers: list[Any] = getattr(self.hooks, hook)(**arguments)
        return answers

    def to_error(self) -> PluginError:
        """The error that stands for this plugin's fault, caused by what it raised."""
        told = f"{self.title}: {self.cause}"
        if self.remedy:
            told += f" {self.remedy}" if told.endswith("?") else f"; {self.remedy}"
        error = PluginError(told)
        error.__cause__ = self.error
        return error
