"""Which missing modules are a reason not to ask, and which are a fault of the plugin."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, entry_points, requires

from synflow_bench.host import PROJECT

_NAME = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Dependencies:
    """What a plugin may lack: what `distribution` requires, always or for an extra, and our own extras.

    A module is known by the name of its distribution, however it is spelt. Where only the plugin's `package`
    is known, the distribution is that with an entry point in it. Of a plugin without any, such as a file,
    only our extras may be missing.
    """

    distribution: str = ""
    package: str = ""

    @classmethod
    def of(cls, plugin: object) -> Dependencies:
        """Those of a class or a factory, by the module that defines it."""
        return cls(package=str(getattr(plugin, "__module__", "")).partition(".")[0])

    def missing(self, error: BaseException | None) -> str | None:
        """The module that `error` misses, if it is one that the plugin may lack."""
        if not isinstance(error, ModuleNotFoundError) or not error.name:
            return None
        return error.name if _normal(error.name) in self._names else None

    @cached_property
    def _names(self) -> frozenset[str]:
        extras = [text for text in _requirements("synflow-bench") if "extra ==" in text]
        own = _requirements(self.distribution or _distribution_of(self.package))
        return frozenset(map(_required, own + extras))


def _distribution_of(package: str) -> str:
    points = (point for point in entry_points(group=PROJECT) if point.module.partition(".")[0] == package)
    return next((point.dist.name for point in points if point.dist), "")


def _requirements(distribution: str) -> list[str]:
    try:
        return requires(distribution) or [] if distribution else []
    except PackageNotFoundError:
        return []


def _required(requirement: str) -> str:
    found = _NAME.match(requirement)
    return _normal(found.group()) if found else ""


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
