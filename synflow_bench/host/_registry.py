"""The names of one kind that plugins have registered, each with its provenance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from synflow_bench.errors import UnknownNameError
from synflow_bench.host._reference import describe, load_reference

KINDS = {
    "pruner": "synflow_bench_pruners",
    "model": "synflow_bench_models",
    "dataset": "synflow_bench_datasets",
    "suite": "synflow_bench_suites",
    "executor": "synflow_bench_executors",
    "logger": "synflow_bench_loggers",
}
"""What can be registered by name, and the hook that gives it."""

_DIGITS = len("sha256:") + 12

T = TypeVar("T")


def short(version: str) -> str:
    """A version for people to read: of a file's hash the first 12 digits."""
    return version[:_DIGITS] if version.startswith("sha256:") else version


@dataclass(frozen=True)
class Entry:
    """A registered name: `reference` is the object, a "module:attr" string, or the path of a suite."""

    kind: str
    name: str
    reference: object
    plugin: str
    distribution: str
    version: str

    @property
    def where(self) -> str:
        """The reference as text."""
        return describe(self.reference)

    @property
    def title(self) -> str:
        """The entry as messages name it."""
        return f"{self.kind} {self.name!r} of {self.distribution} {short(self.version)}"


class Registry(Generic[T]):
    """The entries of one kind, by name."""

    def __init__(self, kind: str, entries: Iterable[Entry]) -> None:
        self.kind = kind
        self._entries = {entry.name: entry for entry in sorted(entries, key=lambda entry: entry.name)}

    def names(self) -> list[str]:
        """All names, in alphabetical order."""
        return list(self._entries)

    def entries(self) -> list[Entry]:
        """All entries, by name."""
        return list(self._entries.values())

    def entry(self, name: str) -> Entry:
        """The entry of `name`; raises `UnknownNameError` where there is none."""
        if name not in self._entries:
            raise UnknownNameError(self.kind, name, self._entries)
        return self._entries[name]

    def get(self, name: str) -> T:
        """What `name` stands for, imported now if need be.

        Raises `UnknownNameError`, `PluginError` for a reference that does not import, and `SuiteError` for a
        suite that is not valid.
        """
        entry = self.entry(name)
        loaded: T = load_reference(entry.kind, entry.reference, entry.title)
        return loaded

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __len__(self) -> int:
        return len(self._entries)
