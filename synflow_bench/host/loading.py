"""Plugins from entry points, files and names of loggers, each checked against the contract.

Plugins are loaded one by one, each with its own plugin manager, so that an error in one of them cannot stop
another. The error becomes the status and cause of its plugin.
"""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path
from typing import Any, Self

import click
import pluggy

from synflow_bench import __version__
from synflow_bench.errors import (
    DENSE,
    NAME_RULE,
    HandledError,
    PluginError,
    did_you_mean,
    is_plain_name,
    one_line,
)
from synflow_bench.host import hookspecs
from synflow_bench.host.hookspecs import CONTRACT, HOOKS, PROJECT, ContractError, OtherContractError
from synflow_bench.host.plugin_class import PluginClass
from synflow_bench.host.plugin_file import PluginFile
from synflow_bench.host.registry import (
    FIRST_PARTY,
    KINDS,
    Entry,
    Plugin,
    PluginKind,
    Registry,
    announced,
    is_reference,
    normalized,
)

STRICT = "SYNFLOW_BENCH_STRICT"
"""The environment variable that, set to 1, makes a plugin that raises an error instead of a warning."""

FIRST_PARTY_ONLY = "SYNFLOW_BENCH_FIRST_PARTY_ONLY"
"""The environment variable that, set to 1, blocks all plugins of third parties."""

DISABLE = "SYNFLOW_BENCH_DISABLE"
"""The environment variable that disables plugins: names of entry points or distributions between commas."""

COMMAND = "command"
"""The kind of an entry that is a command."""

REMEDY = f"fix it, or name it in {DISABLE}"
_FILE_REMEDY = "fix it, or run without it"
_CLASH_REMEDY = f"rename one, or block one by name in {DISABLE}"
_FILE_CLASH_REMEDY = "rename it in the file, or run without the file"
_INSTALLED_REMEDY = "it is installed: leave out --plugin, or rename it in the file"
_CLASS_CLASH_REMEDY = "rename the class"


@dataclass(frozen=True)
class Switches:
    """The settings in environment variables.

    Attributes:
        strict: Raise instead of quarantining a plugin.
        disabled: The names of plugins that are not loaded.
        first_party_only: Load no plugin of third parties.
    """

    strict: bool = False
    disabled: tuple[str, ...] = ()
    first_party_only: bool = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the variables."""
        disabled = (name.strip() for name in environment.get(DISABLE, "").split(","))
        strict, only = (
            environment.get(name, "").strip() not in ("", "0") for name in (STRICT, FIRST_PARTY_ONLY)
        )
        return cls(strict, tuple(name for name in disabled if name), only)

    def disables(self, plugin: Plugin) -> bool:
        """Return True if the plugin, or its distribution in any spelling, is disabled."""
        return any(_matches(name, plugin) for name in self.disabled)

    def unmatched(self, plugins: Collection[Plugin]) -> Iterator[str]:
        """Yield one line for each disabled name that no plugin has."""
        known = {plugin.name for plugin in plugins} | {plugin.distribution for plugin in plugins}
        for name in self.disabled:
            if not any(_matches(name, plugin) for plugin in plugins):
                yield f"{DISABLE} names {name!r}, which is no plugin; {did_you_mean(name, known)}"


def _matches(name: str, plugin: Plugin) -> bool:
    return name == plugin.name or normalized(name) == normalized(plugin.distribution)


def discover(switches: Switches, only: Collection[str] | None = None) -> list[Plugin]:
    """Return every installed plugin, by distribution and name, whatever its status.

    Args:
        switches: The plugins that are disabled.
        only: The distributions of third parties whose plugins are loaded; by default all.
    """
    found = sorted(_entry_points(), key=lambda found: (found[0].name, found[1].name))
    if only is not None:
        wanted = {FIRST_PARTY, *map(normalized, only)}
        found = [each for each in found if normalized(each[0].name) in wanted]
    return [_from_entry_point(*each, switches) for each in found]


def _entry_points() -> Iterator[tuple[Distribution, EntryPoint]]:
    seen = set()
    for distribution in distributions():
        try:
            points = list(distribution.entry_points.select(group=PROJECT))
        except Exception:  # one malformed file, of whatever distribution, must not hide all plugins
            points = []
        name = distribution.name if points else None
        if name and name not in seen:  # the first on the path is the one that imports
            seen.add(name)
            yield from ((distribution, point) for point in points)


def _from_entry_point(distribution: Distribution, point: EntryPoint, switches: Switches) -> Plugin:
    plugin = Plugin(point.name, point.value, distribution.name, distribution.version)
    if switches.disables(plugin):
        return replace(plugin, status="blocked", cause=f"by {DISABLE}")
    if switches.first_party_only and not plugin.is_first_party:
        return replace(plugin, status="blocked", cause="by --first-party-only")

    def load(plugin: Plugin) -> Plugin:
        _check_requirements(distribution.requires)
        return _loaded(plugin, point.load())

    plugin = _checked(plugin, load)
    return plugin if plugin.status == "ok" else replace(plugin, remedy=REMEDY)


def load_files(files: Iterable[PluginFile | PluginClass]) -> list[Plugin]:
    """Return a plugin for each file; one that cannot be used is invalid, because the user named it."""
    first_of: dict[str, PluginFile | PluginClass] = {}
    return [_from_file(file, first_of.setdefault(file.module, file)) for file in dict.fromkeys(files)]


def _from_file(file: PluginFile | PluginClass, first: PluginFile | PluginClass) -> Plugin:
    def load(plugin: Plugin) -> Plugin:
        if file != first:
            raise ContractError(f"{first.given!r} has the same name; rename one of them")
        plugin = _loaded(plugin, file.load())
        if not plugin.entries and not _handles_events(plugin):
            raise ContractError("its hooks give no names; return a mapping such as {'mine': Mine}")
        return plugin

    kind: PluginKind = "plugin file" if isinstance(file, PluginFile) else "pruner class"
    plugin = Plugin(file.module, file.given, file.distribution, file.version, kind=kind)
    plugin = _checked(plugin, load)
    if plugin.status == "quarantined":
        return replace(plugin, status="invalid", remedy=_FILE_REMEDY)
    return plugin


def _handles_events(plugin: Plugin) -> bool:
    """Return True if the plugin has a hook that registers no names: for commands or for events of a run."""
    others = (hook for hook in HOOKS if hook not in KINDS.values())
    return any(getattr(plugin.hooks, hook).get_hookimpls() for hook in others)


def make_logger(loggers: Registry[Any], name: str, target: str, results: Path) -> Plugin:
    """Return the logger `name` as a plugin.

    Args:
        loggers: The registered loggers.
        name: The logger.
        target: The place to which it writes; empty for its default.
        results: The results folder.

    Raises:
        UnknownNameError: There is no such logger.
        PluginError: Its factory raises, or its result has no hooks.
        HandledError: The logger's own error, if it cannot work.
    """
    entry, factory = loggers.entry(name), loggers.get(name)
    given = f"{name}={target}" if target else name
    plugin = Plugin(given, entry.where, entry.distribution, entry.version, kind="logger")
    try:
        return replace(plugin, hooks=_hooks_of(factory(target, results)))
    except HandledError:
        raise
    except ContractError as error:
        raise PluginError(f"{plugin.title}: {error}") from error
    except Exception as error:
        raise PluginError(f"{entry.title} cannot be made: {one_line(error)}") from error


def with_commands(plugin: Plugin, taken: Collection[str]) -> Plugin:
    """Return the plugin with its commands among its entries; a name of `taken` makes it invalid."""

    def add(plugin: Plugin) -> Plugin:
        group = click.Group()
        plugin.call("synflow_bench_commands", group=group)
        for name in group.commands:
            if name in taken:
                raise ContractError(_clash(COMMAND, name, "synflow-bench itself", plugin))
        commands = (
            Entry(COMMAND, name, command, plugin.name, plugin.distribution, plugin.version)
            for name, command in group.commands.items()
        )
        return replace(plugin, entries=(*plugin.entries, *commands))

    return _checked(plugin, add)


def mark_clashes(plugins: Iterable[Plugin]) -> list[Plugin]:
    """Return the same plugins; those that claim one name are all invalid, each naming another."""
    plugins = list(plugins)
    owners = defaultdict(list)
    for plugin in plugins:
        for entry in plugin.entries:
            owners[entry.kind, entry.name].append(plugin)

    def marked(plugin: Plugin) -> Plugin:
        for entry in plugin.entries:
            for other in owners[entry.kind, entry.name]:
                if other is not plugin:
                    cause = _clash(entry.kind, entry.name, other.title, plugin, other)
                    return replace(plugin, status="invalid", cause=cause)
        return plugin

    return [marked(plugin) for plugin in plugins]


def _clash(kind: str, name: str, other: str, *plugins: Plugin) -> str:
    kinds = {plugin.kind for plugin in plugins}
    remedy = _FILE_CLASH_REMEDY if "plugin file" in kinds else _CLASH_REMEDY
    if kinds == {"plugin file", "plugin"} and not any(plugin.is_first_party for plugin in plugins):
        remedy = _INSTALLED_REMEDY
    remedy = _CLASS_CLASH_REMEDY if "pruner class" in kinds else remedy
    return f"{kind} {name!r} is also claimed by {other}; {remedy}"


def _checked(plugin: Plugin, step: Callable[[Plugin], Plugin]) -> Plugin:
    """Return the result of `step`, or the plugin with the status and cause of what it raised."""
    try:
        with announced(plugin):
            return step(plugin)
    except ContractError as error:
        return replace(plugin, status="invalid", cause=str(error), error=error)
    except OtherContractError as error:
        return replace(plugin, status="quarantined", cause=str(error), error=error)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever a plugin raises is its own fault
        return replace(plugin, status="quarantined", cause=one_line(error), error=error)


def _loaded(plugin: Plugin, implementation: object) -> Plugin:
    wanted = getattr(implementation, f"{PROJECT}_contract", CONTRACT)
    if wanted != CONTRACT:
        raise OtherContractError(
            f"it follows plugin contract {wanted!r}, this synflow-bench {CONTRACT}; "
            "install versions that agree"
        )
    plugin = replace(plugin, hooks=_hooks_of(implementation))
    return replace(plugin, entries=tuple(_entries_of(plugin)))


_OWN_REQUIREMENT = re.compile(r"synflow[-_.]+bench(?![-_.\w])[^;]*[<>=~]", re.IGNORECASE)
"""A requirement of synflow-bench that names versions; only for those is `packaging` worth its import."""


def _check_requirements(requirements: Iterable[str] | None) -> None:
    """Raise `OtherContractError` if a requirement of synflow-bench excludes this version.

    Installers check it when they install, and rarely when something else is installed later.
    """
    for text in requirements or ():
        if _OWN_REQUIREMENT.match(text) and not _is_met(text):
            wanted = text.partition(";")[0].strip()
            raise OtherContractError(
                f"it requires {wanted}, this is {__version__}; install versions that agree"
            )


def _is_met(text: str) -> bool:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return True  # its installer reports it
    applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    return not applies or requirement.specifier.contains(__version__, prereleases=True)


def _hooks_of(implementation: object) -> pluggy.HookRelay:
    """Return the hooks of one implementation.

    Raises:
        ContractError: A hook is misspelled, wrongly declared or not marked, or there is none.
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(implementation)
    except pluggy.PluginValidationError as error:
        raise ContractError(_wrong_arguments(implementation) or _mismatch(str(error))) from error
    implemented = [caller.name for caller in manager.get_hookcallers(implementation) or ()]
    for name in implemented:
        if name not in HOOKS:
            raise ContractError(f"unknown hook {name!r}; {did_you_mean(name, HOOKS)}")
    for name in HOOKS:
        if name not in implemented and inspect.isroutine(getattr(implementation, name, None)):
            raise ContractError(f"{name!r} is not marked as a hook; put @hookimpl above it")
    if not implemented:
        raise ContractError(f"it implements no hook; known: {', '.join(HOOKS)}")
    return manager.hook


def _wrong_arguments(implementation: object) -> str | None:
    """Describe the first hook that requires arguments which it is not given."""
    for name in HOOKS:
        required = _parameters(getattr(implementation, name, None))
        allowed = _parameters(getattr(hookspecs, name))
        wrong = [repr(argument) for argument in required if argument not in allowed]
        if wrong:
            may = f"may take {', '.join(allowed)}" if allowed else "takes no arguments"
            return f"{name}() takes {', '.join(wrong)}, which it is not given; it {may}"
    return None


def _parameters(hook: object) -> list[str]:
    """Return the parameters without a default; the host never passes one with a default."""
    if not inspect.isroutine(hook):
        return []
    return [name for name, each in inspect.signature(hook).parameters.items() if each.default is each.empty]


def _mismatch(message: str) -> str:
    """Return pluggy's message in one line, without its first, which names the plugin once more."""
    lines = message.splitlines()
    return "; ".join(line[:1].lower() + line[1:] for line in lines[1:] or lines)


def _entries_of(plugin: Plugin) -> Iterator[Entry]:
    """Yield all names that the plugin registers; raise `ContractError` for what cannot be registered."""
    for kind, hook in KINDS.items():
        if not getattr(plugin.hooks, hook).get_hookimpls():
            continue
        given = next(iter(plugin.call(hook)), None)
        if not isinstance(given, Mapping):
            raise ContractError(f"{hook} returned a {type(given).__name__}; return a mapping of names")
        for name, value in given.items():
            if not isinstance(name, str) or not is_plain_name(name):
                raise ContractError(f"{name!r} is not a {kind}'s name: {NAME_RULE}")
            if kind == "pruner" and name == DENSE:
                raise ContractError(
                    f"the pruner name {DENSE!r} stands for the unpruned network; choose another"
                )
            reference = _reference(kind, name, value)
            yield Entry(kind, name, reference, plugin.name, plugin.distribution, plugin.version)


def _reference(kind: str, name: str, value: object) -> object:
    if kind == "suite" and isinstance(value, str) and value.endswith(".toml"):
        value = Path(value)
    if isinstance(value, Path) and not value.is_absolute():
        raise ContractError(f"{kind} {name!r} has the relative path {str(value)!r}; build it from __file__")
    if value is None or (isinstance(value, str) and not is_reference(value)):
        raise ContractError(f'{kind} {name!r} is {value!r}; give an object or a "module:attr" string')
    return value
