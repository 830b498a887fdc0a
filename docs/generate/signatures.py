"""What a function takes and what a class holds, as it is written in the source."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from typing import Any

_WIDE = 100
_FUNCTION = re.compile(r"<function (\w+) at \w+>")
_DEFAULTS = re.compile(r"\b(PruningOptions)\(\w+=[^()]*\)")
_HOME = re.compile(r"\b(?:synflow_bench|torch|pathlib|collections|typing|click)(?:\.\w+)*\.(?=\w)")


def definition(name: str, function: Any) -> str:
    """`def name(...) -> ...`, one parameter a line where it is long."""
    signature = inspect.signature(function)
    line = f"def {name}{_short(signature)}"
    if len(line) <= _WIDE:
        return line
    taken = [_short(parameter) for parameter in signature.parameters.values()]
    first = next(
        (i for i, p in enumerate(signature.parameters.values()) if p.kind is inspect.Parameter.KEYWORD_ONLY),
        len(taken),
    )
    taken[first:first] = ["*"] if first < len(taken) else []
    inside = "".join(f"    {parameter},\n" for parameter in taken)
    return f"def {name}(\n{inside}) -> {_short(signature.return_annotation)}"


def attributes(kind: type) -> Iterator[tuple[str, str, str]]:
    """Public fields and class attributes, inherited ones first: name, type and default."""
    seen: dict[str, tuple[str, str, str]] = {}
    for base in reversed(kind.__mro__):
        for name, hint in vars(base).get("__annotations__", {}).items():
            if not name.startswith("_") and _is_ours(base):
                seen[name] = (name, _short(hint), _default(kind, name))
    return iter(seen.values())


def methods(kind: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties that the class itself defines."""
    for name, member in vars(kind).items():
        if not name.startswith("_") and _is_documented(member):
            yield name, member


def _is_documented(member: Any) -> bool:
    function = getattr(member, "__func__", getattr(member, "fget", getattr(member, "func", member)))
    return inspect.isfunction(function) and bool(function.__doc__)


def _is_ours(base: type) -> bool:
    return base.__module__.startswith("synflow_bench")


def _default(kind: type, name: str) -> str:
    for field in dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ():
        if field.name == name and field.default_factory is not dataclasses.MISSING:
            return f"{getattr(field.default_factory, '__name__', field.default_factory)}()"
    if name in (known := getattr(kind, "model_fields", {})):
        return repr(known[name].default)
    value = getattr(kind, name, inspect.Parameter.empty)
    plain = isinstance(value, bool | int | float | str | tuple | None) or dataclasses.is_dataclass(value)
    return repr(value) if plain else ""


def _short(thing: object) -> str:
    if isinstance(thing, type):
        return thing.__name__
    text = str(thing).replace("'", "") if not isinstance(thing, str) else thing
    return _HOME.sub("", _FUNCTION.sub(r"\1", _DEFAULTS.sub(r"\1()", text)))
