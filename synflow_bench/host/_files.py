"""Plugins that are one file, named for one run.

A file is read once: what is hashed is what runs, in this process and in those that get the same value.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.abc import ExecutionLoader
from importlib.util import decode_source, find_spec, module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Self

from synflow_bench.errors import UsageError
from synflow_bench.host._judge import ContractBroken


@dataclass(frozen=True)
class PluginFile:
    """A Python file as a plugin: its name as it was given, where it is, and what it says."""

    given: str
    path: Path
    source: bytes = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file; raises `UsageError` where it cannot be read or is no Python file."""
        if path.suffix != ".py":
            raise UsageError(f"plugin file {str(path)!r} is no .py file; name the module itself")
        try:
            return cls(str(path), path.resolve(), path.read_bytes())
        except FileNotFoundError:
            raise UsageError(f"no plugin file {str(path)!r}; --plugin takes the path of a .py file") from None
        except OSError as error:
            raise UsageError(f"cannot read plugin file {str(path)!r}: {error.strerror or error}") from error

    @property
    def module(self) -> str:
        """The name that the file is imported by: its own, with `_` for what no identifier may hold."""
        return re.sub(r"\W|^(?=\d)", "_", self.path.stem)

    @property
    def version(self) -> str:
        """What stands where a distribution has its version: `sha256:` and 64 hex digits."""
        return f"sha256:{sha256(self.source).hexdigest()}"

    def load(self) -> ModuleType:
        """Import the file under its name, once; raises what it raises, or `ContractBroken`."""
        known = sys.modules.get(self.module)
        if known is not None and getattr(known.__spec__, "loader", None) == _Loader(self):
            return known
        if owner := _owner(self):
            raise ContractBroken(f"its module name {self.module!r} is taken by {owner!r}; rename the file")
        return _imported(self)


@dataclass(frozen=True)
class _Loader(ExecutionLoader):
    file: PluginFile

    def get_filename(self, fullname: str) -> str:  # noqa: ARG002  one loader has one module
        return str(self.file.path)

    def get_source(self, fullname: str) -> str:  # noqa: ARG002  as above
        return decode_source(self.file.source)


def _owner(file: PluginFile) -> str | None:
    """Which other module has the name; one of an earlier run in this process makes room."""
    try:
        spec = find_spec(file.module)
    except ValueError:  # `__main__` has none
        return file.module
    if spec is None or spec.origin is None or isinstance(spec.loader, _Loader):
        return None
    return None if spec.origin == str(file.path) else spec.origin


def _imported(file: PluginFile) -> ModuleType:
    spec = spec_from_loader(file.module, _Loader(file), origin=str(file.path))
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot import {file.given!r}")
    spec.has_location = True
    module = sys.modules[file.module] = module_from_spec(spec)  # dataclasses look themselves up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[file.module]
        raise
    return module
