"""Every public class and function."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

from prose import code, docstring, fenced, table
from signatures import attributes, definition, methods

import synflow_bench
from synflow_bench import errors, execution, testing
from synflow_bench.testing import pytest_plugin

HEAD = """# Classes and functions

What a plugin or a script may import. Everything else is ours to change. Shapes are in brackets: (N, C, H,
W) is examples, channels, height, width.
"""
EXECUTION = ("Executor", "Resources", "ExecutorError")


def api_page() -> str:
    """The page."""
    kit = [name for name in testing.__all__ if name != "RULES"]
    parts = [
        HEAD.rstrip(),
        _module(
            synflow_bench, [n for n in synflow_bench.__all__ if n not in {"__version__", "HandledError"}]
        ),
        _module(testing, kit),
        f"## synflow_bench.testing.pytest_plugin\n\n{docstring(pytest_plugin)}",
        _module(execution, EXECUTION),
        _errors(),
    ]
    return "\n\n".join(parts) + "\n"


def class_section(kind: type, level: str, name: str = "") -> str:
    """A class: what it says of itself, what it holds and what it does."""
    parts = [f"{level} {name or kind.__name__}", docstring(kind)]
    if held := list(attributes(kind)):
        head = ["attribute", "type", "default"]
        parts.append(table(head, [[code(n), code(hint), code(value)] for n, hint, value in held]))
    parts += [_member(kind, level, name, member) for name, member in methods(kind)]
    return "\n\n".join(parts)


def _member(kind: type, level: str, name: str, member: Any) -> str:
    shown = callable(getattr(member, "__func__", member))
    signature = [fenced(definition(name, getattr(kind, name)))] if shown else []
    return "\n\n".join([f"{level}# {kind.__name__}.{name}", *signature, docstring(member)])


def _module(module: ModuleType, names: Any) -> str:
    sections = [_section(getattr(module, name), name) for name in names]
    return "\n\n".join([f"## {module.__name__}", *sections])


def _section(thing: Any, name: str) -> str:
    if isinstance(thing, type):
        return class_section(thing, "###", name)
    shown = [fenced(definition(name, thing))] if inspect.isfunction(thing) else []
    return "\n\n".join([f"### {name}", *shown, docstring(thing)])


def _errors() -> str:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    rows = [
        [code(kind.__name__), code(kind.__mro__[1].__name__), docstring(kind), kind.exit_code]
        for kind in kinds
        if issubclass(kind, errors.HandledError)
    ]
    about = "The command line prints one of these as one line; anything else keeps its traceback."
    head = ["error", "is a", "what it is", "exit code"]
    return "\n\n".join(["## synflow_bench.errors", about, table(head, rows)])
