"""Recorded cells whose plugin file has changed since: the key does not know, so the user should."""

from __future__ import annotations

from collections import Counter

from synflow_bench.errors import RecordError
from synflow_bench.execution._plan import Plan
from synflow_bench.host import Host
from synflow_bench.protocols import plugins_of
from synflow_bench.records import Store, read_record
from synflow_bench.suites import Cell


def changed_files(plan: Plan, host: Host, store: Store) -> Counter[str]:
    """How many recorded cells of `plan` were made with another text of each of the host's files."""
    current = {f"{file.path.name} {file.version}": file.given for file in host.files}
    if not current:
        return Counter()
    return Counter(
        current[plugin]
        for cell in plan.recorded
        for kind, plugin in plugins_of(cell, host).items()
        if plugin in current and _recorded(cell, store).get(kind, plugin) != plugin
    )


def _recorded(cell: Cell, store: Store) -> dict[str, str]:
    try:
        return read_record(store.path(cell)).provenance.plugins
    except RecordError:  # told elsewhere
        return {}
