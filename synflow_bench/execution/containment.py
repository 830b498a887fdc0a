"""Records of processes in which code of third parties has run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from synflow_bench.errors import PluginError
from synflow_bench.protocols import WorkerContext, failed_record
from synflow_bench.records import Record

_NAMED = 3
"""The replaced functions that a message names."""


def contained(
    records: Iterable[Record], context: WorkerContext, replaced: tuple[str, ...]
) -> Iterator[Record]:
    """Yield records with the plugins that their process has loaded; failed ones if functions are replaced.

    Args:
        records: The records of a worker.
        context: The context that made them.
        replaced: The functions of torch and others that a plugin has replaced in the process.
    """
    third_parties = context.host.third_parties
    for record in records:
        if third_parties:
            provenance = record.provenance.model_copy(update={"served": third_parties})
            record = record.model_copy(update={"provenance": provenance})
        if replaced and record.status == "ok":
            names = ", ".join(replaced[:_NAMED]) + (" and others" if len(replaced) > _NAMED else "")
            error = PluginError(
                f"{' or '.join(third_parties)} replaces {names}; a plugin must leave the functions of others"
            )
            record = failed_record(record.cell, error, record.provenance)
        yield record
