"""Whether a plugin keeps the contract, and what it provides by it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path

import pluggy

from synflow_bench.errors import did_you_mean
from synflow_bench.host import _hookspecs
from synflow_bench.host._judge import ContractBroken, OtherContract
from synflow_bench.host._markers import CONTRACT, PROJECT
from synflow_bench.host._plugin import Plugin
from synflow_bench.host._reference import is_reference
from synflow_bench.host._registry import KINDS, Entry
from synflow_bench.names import DENSE, NAME_RULE, is_plain_name

HOOKS = tuple(name for name in vars(_hookspecs) if name.startswith(f"{PROJECT}_"))
"""The names of all hooks."""


def check_version(implementation: object) -> None:
    """Raise `OtherContract` where the plugin names a contract that is not ours."""
    wanted = getattr(implementation, f"{PROJECT}_contract", CONTRACT)
    if wanted != CONTRACT:
        raise OtherContract(
            f"it keeps plugin contract {wanted!r}, this synflow-bench {CONTRACT}; install versions that agree"
        )


def relay_of(implementation: object) -> pluggy.HookRelay:
    """The plugin's hooks in a relay of their own, so that a fault in one plugin never touches another.

    Raises `ContractBroken` for a hook that is misspelt, wrongly declared or not marked.
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(_hookspecs)
    try:
        manager.register(implementation)
    except pluggy.PluginValidationError as error:
        raise ContractBroken(_wrong_arguments(implementation) or _mismatch(str(error))) from error
    _check_names(implementation, [caller.name for caller in manager.get_hookcallers(implementation) or ()])
    return manager.hook


def _wrong_arguments(implementation: object) -> str | None:
    """The hook that takes what it is not given, and what it may take."""
    for name in HOOKS:
        wanted = _parameters(getattr(implementation, name, None))
        allowed = _parameters(getattr(_hookspecs, name))
        wrong = [repr(argument) for argument in wanted if argument not in allowed]
        if wrong:
            may = f"may take {', '.join(allowed)}" if allowed else "takes no arguments"
            return f"{name}() takes {', '.join(wrong)}, which it is not given; it {may}"
    return None


def _parameters(hook: object) -> list[str]:
    """The parameters that must be given; one with a default is never passed by the host."""
    if not inspect.isroutine(hook):
        return []
    return [name for name, each in inspect.signature(hook).parameters.items() if each.default is each.empty]


def _mismatch(message: str) -> str:
    """pluggy's message in one line, without the first, which names the plugin once more."""
    lines = message.splitlines()
    return "; ".join(line[:1].lower() + line[1:] for line in lines[1:] or lines)


def _check_names(implementation: object, implemented: list[str]) -> None:
    for name in implemented:
        if name not in HOOKS:
            raise ContractBroken(f"unknown hook {name!r}; {did_you_mean(name, HOOKS)}")
    for name in HOOKS:
        if name not in implemented and inspect.isroutine(getattr(implementation, name, None)):
            raise ContractBroken(f"{name!r} is not marked as a hook; put @hookimpl above it")
    if not implemented:
        raise ContractBroken(f"it implements no hook; known: {', '.join(HOOKS)}")


def hears_events(plugin: Plugin) -> bool:
    """Whether the plugin has a hook that gives no names: it hears of runs, or adds commands."""
    others = (hook for hook in HOOKS if hook not in KINDS.values())
    return any(getattr(plugin.hooks, hook).get_hookimpls() for hook in others)


def entries_of(plugin: Plugin) -> Iterator[Entry]:
    """All that the plugin registers by name; raises `ContractBroken` for what cannot be registered."""
    for kind, hook in KINDS.items():
        if not getattr(plugin.hooks, hook).get_hookimpls():
            continue
        given = next(iter(plugin.call(hook)), None)
        if not isinstance(given, Mapping):
            raise ContractBroken(f"{hook} returned a {type(given).__name__}; return a mapping of names")
        for name, value in given.items():
            _check_name(kind, name)
            reference = _reference(kind, name, value)
            yield Entry(kind, name, reference, plugin.name, plugin.distribution, plugin.version)


def _check_name(kind: str, name: object) -> None:
    if not isinstance(name, str) or not is_plain_name(name):
        raise ContractBroken(f"{name!r} is not a {kind}'s name: {NAME_RULE}")
    if kind == "pruner" and name == DENSE:
        raise ContractBroken(f"the pruner name {DENSE!r} stands for the unpruned network; choose another")


def _reference(kind: str, name: str, value: object) -> object:
    if kind == "suite" and isinstance(value, str) and value.endswith(".toml"):
        value = Path(value)
    if isinstance(value, Path) and not value.is_absolute():
        raise ContractBroken(f"{kind} {name!r} has the relative path {str(value)!r}; build it from __file__")
    if value is None or (isinstance(value, str) and not is_reference(value)):
        raise ContractBroken(f'{kind} {name!r} is {value!r}; give an object or a "module:attr" string')
    return value
