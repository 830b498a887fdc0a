"""From what a plugin gave under a name to the object itself."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

from synflow_bench.errors import PluginError
from synflow_bench.host._causes import one_line

_REFERENCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def is_reference(text: str) -> bool:
    """Whether `text` reads "module:attr", dots allowed in both parts."""
    return bool(_REFERENCE.fullmatch(text))


def describe(reference: object) -> str:
    """A reference as one line of text: as it was given, or where the object was defined."""
    if isinstance(reference, str | Path):
        return str(reference)
    home = reference if hasattr(reference, "__qualname__") else type(reference)
    return f"{home.__module__}:{home.__qualname__}"


def load_reference(kind: str, reference: object, title: str) -> Any:
    """The object behind `reference`, or a `PluginError` that names `title` and the cause."""
    loaded = _imported(reference, title) if isinstance(reference, str) else reference
    return _suite(loaded, title) if kind == "suite" else loaded


def _imported(reference: str, title: str) -> object:
    module, _, path = reference.partition(":")
    try:
        loaded: object = import_module(module)
        for attribute in path.split("."):
            loaded = getattr(loaded, attribute)
    except (Exception, SystemExit) as error:
        raise PluginError(f"cannot load {title} from {reference!r}: {one_line(error)}") from error
    return loaded


def _suite(loaded: object, title: str) -> object:
    from synflow_bench.suites import Suite, load_suite

    if isinstance(loaded, Path):
        return load_suite(loaded)
    if not isinstance(loaded, Suite):
        raise PluginError(f"{title} is a {type(loaded).__name__}; give a Suite, or the path of a TOML file")
    return loaded
