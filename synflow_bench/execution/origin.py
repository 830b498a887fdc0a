"""The third-party code that a cell runs: cells of different origins never share a worker process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from synflow_bench.host import Entry, Host, PluginClass, PluginFile
from synflow_bench.suites import Cell


@dataclass(frozen=True)
class Origin:
    """The code of third parties that runs in a cell.

    Attributes:
        distributions: The distributions whose plugins the worker loads, besides those of synflow-bench.
        files: The plugin files and classes that it loads.
        providers: All of them, as records name them.
        row: The pruner with its parameters if it is a third party's: each row has workers of its own.
    """

    distributions: frozenset[str] = frozenset()
    files: tuple[PluginFile | PluginClass, ...] = ()
    providers: tuple[str, ...] = ()
    row: str = ""

    @property
    def title(self) -> str:
        """The origin in a message."""
        return self.row or ", ".join(self.providers) or "synflow-bench"


FIRST_PARTY_ORIGIN = Origin()


def origin_of(cell: Cell, host: Host) -> Origin:
    """Return the third-party code that runs in `cell`."""
    foreign = [entry for entry in _entries(cell, host) if not entry.is_first_party]
    if not foreign:
        return FIRST_PARTY_ORIGIN
    providers = {entry.provider for entry in foreign}
    files = tuple(file for file in host.files if f"{file.distribution} {file.version}" in providers)
    of_files = {file.distribution for file in files}
    pruned = any(entry.kind == "pruner" for entry in foreign)
    return Origin(
        distributions=frozenset(entry.distribution for entry in foreign) - of_files,
        files=files,
        providers=tuple(sorted(providers)),
        row=cell.pruner.label or cell.pruner.name if pruned else "",
    )


def _entries(cell: Cell, host: Host) -> Iterator[Entry]:
    used = [(host.datasets, cell.setting.dataset_name), (host.models, cell.setting.model.name)]
    if not cell.is_dense:
        used.append((host.pruners, cell.pruner.name))
    for registry, name in used:
        if name in registry:
            yield registry.entry(name)
