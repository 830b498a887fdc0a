"""Every hook: what a plugin may implement."""

from __future__ import annotations

import inspect
from typing import Any

from class_pages import class_section
from prose import docstring, fenced
from signatures import definition

from synflow_bench.host import RunFinished, RunStarted, _hookspecs

HEAD = """# Hooks

A plugin is a module, named by an entry point in the group `synflow_bench` or by `--plugin FILE`, with
functions of these names under `@hookimpl`. It has those that it needs. A logger is an object with methods
of these names.

A hook that gives a mapping gives names and what stands behind them: an object, or a `"module:attribute"`
string, which is imported when the name is used. A name matches `[a-z0-9][a-z0-9._/-]*` and has 64
characters at most. A hook may take fewer arguments than are given here, and none of another name.
"""


def hooks_page() -> str:
    """The page."""
    hooks = [hook for name, hook in vars(_hookspecs).items() if name.startswith("synflow_bench_")]
    events = [class_section(kind, "###") for kind in (RunStarted, RunFinished)]
    return "\n\n".join([HEAD.rstrip(), *map(_section, hooks), "## What loggers are told", *events]) + "\n"


def _section(hook: Any) -> str:
    hook = inspect.unwrap(hook)
    name = hook.__name__
    return "\n\n".join([f"## {name}", fenced(definition(name, hook)), docstring(hook)])
