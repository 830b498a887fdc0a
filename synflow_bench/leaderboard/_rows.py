"""Which records make one row: those of the newest revisions, with the same parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise

from synflow_bench.errors import RecordError
from synflow_bench.records import Result
from synflow_bench.suites import canonical, label_of


def unique(records: Iterable[Result]) -> list[Result]:
    """The records in the order of their keys, whatever order they came in; a key given twice is an error."""
    ordered = sorted(records, key=lambda record: record.key)
    for before, after in pairwise(ordered):
        if before.key == after.key:
            raise RecordError(f"two records have the key {after.key!r}; leave one of them out")
    return ordered


def rows_of(records: Iterable[Result]) -> tuple[dict[str, list[Result]], dict[str, int]]:
    """Row label -> its newest records, and row label -> how many older ones were left out.

    The revisions of data set and model hold for the whole board, or rows could not be compared; the
    pruner's for its row. Results of different revisions are never averaged.
    """
    rows: dict[str, list[Result]] = {}
    outdated = Counter[str]()
    everything = list(records)
    newest = max(_shared_revision(record) for record in everything)
    for label, row in _grouped(everything).items():
        current = [record for record in row if _shared_revision(record) == newest]
        revision = max((record.cell.revisions.pruner for record in current), default=0)
        kept = [record for record in current if record.cell.revisions.pruner == revision]
        outdated[label] = len(row) - len(kept)
        rows |= _told_apart(label, kept)
    return rows, {label: count for label, count in sorted(outdated.items()) if count}


def _shared_revision(record: Result) -> tuple[int, int]:
    return record.cell.revisions.dataset, record.cell.revisions.model


def _grouped(records: Iterable[Result]) -> Mapping[str, list[Result]]:
    rows: dict[str, list[Result]] = {}
    for record in records:
        rows.setdefault(record.cell.row, []).append(record)
    return dict(sorted(rows.items()))


def _told_apart(label: str, records: list[Result]) -> dict[str, list[Result]]:
    """One row, or one for each set of parameters where several share the label."""
    pruners = {id(record.cell.pruner): record.cell.pruner for record in records}
    names = {number: canonical([each.name, each.parameters]) for number, each in pruners.items()}
    variants: dict[str, list[Result]] = {}
    for record in records:
        variants.setdefault(names[id(record.cell.pruner)], []).append(record)
    if len(variants) < 2:
        return {label: records} if records else {}
    return {_full_label(variant[0]): variant for variant in variants.values()}


def _full_label(record: Result) -> str:
    cell = record.cell
    label = label_of(cell.pruner.name, cell.pruner.parameters)
    return label if cell.ablation == "none" else f"{label} ({cell.ablation})"
