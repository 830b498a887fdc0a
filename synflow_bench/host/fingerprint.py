"""The hash of a class by what it does: equal in every process, different after a change of its code."""

from __future__ import annotations

import dis
from collections.abc import Iterator, Mapping
from hashlib import sha256
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

_CONSTANTS = (bool, int, float, complex, str, bytes, type(None), type(...))

_GENERATED = {
    *("__module__", "__qualname__", "__doc__", "__dict__", "__weakref__"),
    *("__firstlineno__", "__static_attributes__", "__annotate__", "__annotate_func__"),
    *("__init__", "__repr__", "__eq__", "__hash__", "__replace__", "__match_args__"),
    *("__dataclass_fields__", "__dataclass_params__", "__abstractmethods__", "_abc_impl"),
}
"""Attributes that say where a class is defined, or follow from the others."""


def fingerprint(kind: type) -> str:
    """Return a hash of a class, of 64 hexadecimal digits.

    It covers the code, the defaults and the closures of its methods, its attributes, and whatever these use
    of the module that defines it: base classes, functions, classes and other values. Of other modules it
    covers the names. Names of files, numbers of lines and comments do not change it.
    """
    hashed = sha256()
    for part in _Parts(kind.__module__).of(kind):
        hashed.update(f"{len(part)}:{part}".encode("utf-8", "surrogatepass"))
    return hashed.hexdigest()


class _Parts:
    """The parts of values as text; whatever does not belong to `module` is only named."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._seen: dict[int, tuple[int, object]] = {}  # with the value, which keeps its id from being reused

    def of(self, value: Any) -> Iterator[str]:
        """Yield the parts of a value, each class, function and container once."""
        yield type(value).__name__
        if isinstance(value, _CONSTANTS):
            yield repr(value)
        elif isinstance(value, CodeType):
            yield from self._code(value)
        elif isinstance(value, tuple | frozenset):
            yield from self._items(value)
        elif id(value) in self._seen:
            yield f"part {self._seen[id(value)][0]}"
        else:
            self._seen[id(value)] = len(self._seen), value
            yield from self._new(value)

    def _new(self, value: Any) -> Iterator[str]:
        if isinstance(value, list | set):
            yield from self._items(value)
        elif isinstance(value, Mapping):
            yield from self._items([each for item in value.items() for each in item])
        elif isinstance(value, ModuleType):
            yield value.__name__
        elif isinstance(value, type | FunctionType | BuiltinFunctionType):
            if value.__module__ != self._module:
                yield f"{value.__module__}.{value.__qualname__}"
            elif isinstance(value, type):
                yield from self._class(value)
            elif isinstance(value, FunctionType):
                yield from self._function(value)
        elif isinstance(value, staticmethod | classmethod):
            yield from self.of(value.__func__)
        elif isinstance(value, property):
            yield from self.of((value.fget, value.fset, value.fdel))
        else:
            yield from self._object(value)

    def _items(self, values: Any) -> Iterator[str]:
        yield str(len(values))
        for each in sorted(values, key=repr) if isinstance(values, set | frozenset) else values:
            yield from self.of(each)

    def _class(self, kind: type) -> Iterator[str]:
        yield kind.__name__
        yield from self.of(kind.__bases__)
        for name, value in vars(kind).items():
            if name not in _GENERATED:
                yield name
                yield from self.of(value)

    def _function(self, function: FunctionType) -> Iterator[str]:
        yield from self._code(function.__code__)
        yield from self.of(function.__defaults__)
        yield from self.of(function.__kwdefaults__)
        for cell in function.__closure__ or ():
            try:
                content = cell.cell_contents
            except ValueError:  # a variable that is not assigned yet
                continue
            yield from self.of(content)
        for name in sorted(_globals_of(function.__code__)):
            if name in function.__globals__:
                yield name
                yield from self.of(function.__globals__[name])

    def _code(self, code: CodeType) -> Iterator[str]:
        yield code.co_code.hex()
        counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        yield from self.of((counts, code.co_names, code.co_varnames, code.co_freevars, code.co_consts))

    def _object(self, value: Any) -> Iterator[str]:
        kind = type(value)
        yield f"{kind.__module__}.{kind.__qualname__}" if kind.__module__ != self._module else ""
        parts: Any
        try:
            if hasattr(value, "dtype") and hasattr(value, "tolist"):  # an array or a tensor
                parts = str(value.dtype), value.tolist()
            else:
                parts = value.__reduce_ex__(2)
                if not isinstance(parts, str):
                    parts = tuple(list(part) if isinstance(part, Iterator) else part for part in parts)
        except Exception:  # a lock, an open file or the like has no content
            return
        yield from self.of(parts)


def _globals_of(code: CodeType) -> set[str]:
    """Return the global names that code reads, and those of the functions within it."""
    found = {
        each.argval for each in dis.get_instructions(code) if each.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    }
    return found.union(*(_globals_of(each) for each in code.co_consts if isinstance(each, CodeType)))
