"""Plugins, and the names that they register.

A `Plugin` provides entries; a `Registry` holds the entries of one kind and imports an object when its name is
used.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import pluggy

from synflow_bench.errors import PluginError, UnknownNameError, one_line, printable

KINDS = {
    "pruner": "synflow_bench_pruners",
    "model": "synflow_bench_models",
    "dataset": "synflow_bench_datasets",
    "suite": "synflow_bench_suites",
    "executor": "synflow_bench_executors",
    "logger": "synflow_bench_loggers",
}
"""The kinds of names that plugins register, and the hook for each."""

FIRST_PARTY = "synflow-bench"
"""The distribution whose plugins are part of this project; all others are of third parties."""

LONG_LOAD = 30.0
"""The seconds after which a plugin that is still loading is named."""

PluginStatus = Literal["ok", "quarantined", "blocked", "invalid"]
"""`quarantined`: it raised, and the run continues without it. `blocked`: the user disabled it. `invalid`: it
breaks the contract, or it is a file that the user named for this run and that cannot be used."""

PluginKind = Literal["plugin", "plugin file", "pruner class", "logger"]
"""An entry point of a distribution, a file, a class of the program, or a logger that was switched on."""

_HASH_SHOWN = len("sha256:") + 12
_REFERENCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")

T = TypeVar("T")


def short(version: str) -> str:
    """Shorten a version for display: of the hash of a file, the first 12 digits.

    Example:
        >>> short("1.0"), short(f"sha256:{'0123456789abcdef' * 4}")
        ('1.0', 'sha256:0123456789ab')
    """
    return version[:_HASH_SHOWN] if version.startswith("sha256:") else version


def normalized(distribution: str) -> str:
    """Return the name of a distribution in the spelling of package indexes.

    Example:
        >>> normalized("My_Pruners")
        'my-pruners'
    """
    return re.sub(r"[-_.]+", "-", distribution).lower()


def is_first_party(distribution: str) -> bool:
    """Return True for the distribution of synflow-bench, whose plugins are part of it."""
    return normalized(distribution) == FIRST_PARTY


def is_reference(text: str) -> bool:
    """Return True if `text` has the form "module:attr"; both parts may contain dots."""
    return bool(_REFERENCE.fullmatch(text))


@dataclass(frozen=True)
class Entry:
    """A registered name.

    Attributes:
        kind: One of `KINDS`, or `command`.
        name: The registered name.
        reference: The object itself, a "module:attr" string, or the path of a suite.
        plugin: The name of the entry point.
        distribution: The distribution that registers it, or the name of a plugin file.
        version: The version of the distribution, or the hash of a plugin file.
    """

    kind: str
    name: str
    reference: object
    plugin: str
    distribution: str
    version: str

    @property
    def where(self) -> str:
        """The reference as text: as given, or the place where the object is defined."""
        if isinstance(self.reference, str | Path):
            return str(self.reference)
        owner = self.reference if hasattr(self.reference, "__qualname__") else type(self.reference)
        return f"{owner.__module__}:{owner.__qualname__}"

    @property
    def title(self) -> str:
        """The entry as messages name it."""
        return f"{self.kind} {self.name!r} of {self.distribution} {short(self.version)}"

    @property
    def provider(self) -> str:
        """The distribution or plugin file and its version, as records name it."""
        return f"{self.distribution} {self.version}"

    @property
    def is_first_party(self) -> bool:
        """True if the name comes with synflow-bench itself."""
        return is_first_party(self.distribution)

    def load(self) -> Any:
        """Return the object that the name stands for, imported now if necessary.

        Raises:
            PluginError: The reference cannot be imported, or is not a suite although it is registered as one.
            SuiteError: The suite is not valid.
        """
        loaded = self.reference
        if isinstance(loaded, str):
            module, _, path = loaded.partition(":")
            try:
                with announced(self):
                    loaded = import_module(module)
                for attribute in path.split("."):
                    loaded = getattr(loaded, attribute)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # whatever a module raises is its own fault
                cause = one_line(error)
                raise PluginError(f"cannot load {self.title} from {self.reference!r}: {cause}") from error
        return self._as_suite(loaded) if self.kind == "suite" else loaded

    def _as_suite(self, loaded: object) -> object:
        from synflow_bench.suites import Suite, load_suite

        if isinstance(loaded, Path):
            return load_suite(loaded)
        if not isinstance(loaded, Suite):
            found = type(loaded).__name__
            raise PluginError(f"{self.title} is a {found}; give a Suite, or the path of a TOML file")
        return loaded


class Registry(Generic[T]):
    """The registered names of one kind.

    Args:
        kind: One of `KINDS`.
        entries: The entries of that kind.
    """

    def __init__(self, kind: str, entries: Iterable[Entry]) -> None:
        self.kind = kind
        self._entries = {entry.name: entry for entry in sorted(entries, key=lambda entry: entry.name)}

    def names(self) -> list[str]:
        """Return all names in alphabetical order."""
        return list(self._entries)

    def entries(self) -> list[Entry]:
        """Return all entries in the order of their names."""
        return list(self._entries.values())

    def entry(self, name: str) -> Entry:
        """Return the entry of `name`.

        Raises:
            UnknownNameError: Nothing has registered the name.
        """
        if name not in self._entries:
            raise UnknownNameError(self.kind, name, self._entries)
        return self._entries[name]

    def get(self, name: str) -> T:
        """Return the object that `name` stands for, imported now if necessary.

        Raises:
            UnknownNameError: Nothing has registered the name.
            PluginError: The reference of the plugin cannot be imported.
            SuiteError: The suite is not valid.
        """
        loaded: T = self.entry(name).load()
        return loaded

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __len__(self) -> int:
        return len(self._entries)


@dataclass(frozen=True)
class Plugin:
    """A plugin, its status and what it registers.

    Attributes:
        name: The name of the entry point, of the module of a plugin file, or of a logger with its target.
        reference: The value of the entry point, or the path of a plugin file as given.
        distribution: The distribution, or the file name of a plugin file.
        version: The version of the distribution, or the hash of a plugin file.
        kind: An entry point, a file or a logger.
        status: `ok` if it is used.
        cause: The reason for any other status.
        remedy: The advice to the user.
        entries: The names that it registers.
        error: The exception behind `cause`.
        hooks: Its hooks.
    """

    name: str
    reference: str
    distribution: str
    version: str
    kind: PluginKind = "plugin"
    status: PluginStatus = "ok"
    cause: str = ""
    remedy: str = ""
    entries: tuple[Entry, ...] = ()
    error: BaseException | None = field(default=None, repr=False, compare=False)
    hooks: pluggy.HookRelay | None = field(default=None, repr=False, compare=False)

    @property
    def title(self) -> str:
        """The plugin as messages name it."""
        if self.kind in ("plugin file", "pruner class"):
            return f"{self.kind} {self.reference!r}"
        return f"{self.kind} {self.name!r} of {self.distribution} {short(self.version)}"

    @property
    def is_first_party(self) -> bool:
        """True if the plugin comes with synflow-bench itself."""
        return is_first_party(self.distribution)

    @property
    def provides(self) -> dict[str, list[str]]:
        """The names that it registers, by kind."""
        names: dict[str, list[str]] = {}
        for entry in self.entries:
            names.setdefault(entry.kind, []).append(entry.name)
        return names

    def call(self, hook: str, **arguments: object) -> list[Any]:
        """Return the results of a hook: none if the plugin has no such hook, or its status is not `ok`."""
        if self.status != "ok" or self.hooks is None:
            return []
        results: list[Any] = getattr(self.hooks, hook)(**arguments)
        return results

    def to_error(self) -> PluginError:
        """Return the error for this plugin's cause and remedy, chained to the exception behind it."""
        message = f"{self.title}: {self.cause}"
        if self.remedy:
            message += f" {self.remedy}" if message.endswith("?") else f"; {self.remedy}"
        error = PluginError(message)
        error.__cause__ = self.error
        return error


@contextmanager
def announced(loading: Entry | Plugin) -> Iterator[None]:
    """Say what is loading if that takes long: a module of a third party may wait for something for ever."""
    if loading.is_first_party:
        yield
        return
    line = f"warning: {loading.title} is still loading after {LONG_LOAD:g} s; Ctrl-C ends this command"
    timer = threading.Timer(LONG_LOAD, lambda: print(printable(line), file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
