"""The pruners of a run, with all their parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from synflow_bench.errors import PluginError, UsageError
from synflow_bench.host import Host
from synflow_bench.pruning import Pruner, resolve_pruner
from synflow_bench.suites import DENSE, PrunerSpec


def resolve_pruners(specs: Iterable[PrunerSpec], host: Host) -> list[PrunerSpec]:
    """The specs with all parameters and their labels, each once.

    Raises `UnknownNameError` for unknown names and parameters, `UsageError` for values of the wrong type and
    `PluginError` for a pruner that does not import.
    """
    resolved = {}
    for spec in specs:
        if spec.name == DENSE:
            raise UsageError("the dense network is always a row; leave out pruner 'dense'")
        _, full = resolve_pruner(kind_of(spec.name, host), spec, host.pruners.entry(spec.name).title)
        resolved[full.label] = full
    return list(resolved.values())


def installed_pruners(host: Host, report: Callable[[str], None]) -> list[PrunerSpec]:
    """Every installed pruner, resolved; `report` hears of one that cannot be used, and why."""
    found = []
    for name in host.pruners.names():
        try:
            found += resolve_pruners([PrunerSpec(name=name)], host)
        except PluginError as error:
            report(f"{error}; it is left out")
    return found


def kind_of(name: str, host: Host) -> type[Pruner]:
    """The class of a pruner; raises `UnknownNameError`, or `PluginError` where it is none."""
    kind = host.pruners.get(name)
    if not (isinstance(kind, type) and issubclass(kind, Pruner)):
        entry = host.pruners.entry(name)
        raise PluginError(
            f"pruner {name!r} of {entry.distribution} is no synflow_bench.Pruner; make it a subclass"
        )
    return kind
