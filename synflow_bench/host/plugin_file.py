"""Plugins that are one file, named for one run with `--plugin FILE`.

A file is read once: the bytes that are hashed are those that run, in this process and in every worker.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.abc import ExecutionLoader
from importlib.metadata import entry_points
from importlib.util import decode_source, find_spec, module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Self

from synflow_bench.errors import UsageError
from synflow_bench.host.hookspecs import PROJECT, ContractError


@dataclass(frozen=True)
class PluginFile:
    """A Python file as a plugin.

    Attributes:
        given: The path as the user wrote it.
        path: The absolute path.
        source: The content of the file.
    """

    given: str
    path: Path
    source: bytes = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file.

        Raises:
            UsageError: It cannot be read, or is not a Python file.
        """
        if path.suffix != ".py":
            raise UsageError(f"plugin file {str(path)!r} is no .py file; name the module itself")
        try:
            return cls(str(path), path.resolve(), path.read_bytes())
        except FileNotFoundError:
            raise UsageError(f"no plugin file {str(path)!r}; give the path of a .py file") from None
        except OSError as error:
            raise UsageError(f"cannot read plugin file {str(path)!r}: {error.strerror or error}") from error

    @property
    def module(self) -> str:
        """The module name: that of the file, with `_` for letters not allowed in identifiers."""
        return re.sub(r"\W|^(?=\d)", "_", self.path.stem)

    @property
    def distribution(self) -> str:
        """The name of the file, in place of the distribution of an installed plugin."""
        return self.path.name

    @property
    def version(self) -> str:
        """The hash of the content in place of a version: `sha256:` and 64 hex digits."""
        return f"sha256:{sha256(self.source).hexdigest()}"

    def load(self) -> ModuleType:
        """Import the file under its name, once.

        Raises:
            ContractError: Another module has the name.
            Exception: Any exception that the file itself raises.
        """
        known = sys.modules.get(self.module)
        if known is not None and getattr(known.__spec__, "loader", None) == _Loader(self):
            return known
        if owner := _owner(self):
            if distribution := _distribution_of(self.module):
                raise ContractError(
                    f"plugin {self.module!r} of {distribution} is installed: leave out --plugin, "
                    "or rename the file and what it registers"
                )
            raise ContractError(f"its module name {self.module!r} is taken by {owner!r}; rename the file")
        spec = spec_from_loader(self.module, _Loader(self), origin=str(self.path))
        if spec is None or spec.loader is None:
            raise ImportError(f"cannot import {self.given!r}")
        spec.has_location = True
        module = sys.modules[self.module] = module_from_spec(spec)  # dataclasses look themselves up there
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[self.module]
            raise
        return module


@dataclass(frozen=True)
class _Loader(ExecutionLoader):
    file: PluginFile

    def get_filename(self, fullname: str) -> str:  # noqa: ARG002  one loader has one module
        return str(self.file.path)

    def get_source(self, fullname: str) -> str:  # noqa: ARG002  as above
        return decode_source(self.file.source)


def _distribution_of(module: str) -> str | None:
    """Return the distribution whose plugin is in a module, with its version; None if it has no plugin."""
    points = (point for point in entry_points(group=PROJECT) if point.module.partition(".")[0] == module)
    return next((f"{point.dist.name} {point.dist.version}" for point in points if point.dist), None)


def _owner(file: PluginFile) -> str | None:
    """Return the place of another module of that name; a plugin file of an earlier run may be replaced."""
    try:
        spec = find_spec(file.module)
    except ValueError:  # `__main__` has none
        return file.module
    if spec is None or spec.origin is None or isinstance(spec.loader, _Loader):
        return None
    return None if spec.origin == str(file.path) else spec.origin
