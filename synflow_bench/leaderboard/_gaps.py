"""Ablations as columns of the plain rows: what a pruner loses when its mask, weights or data are spoilt.

Su et al. 2020 (Sanity-checking pruning methods, arXiv 2009.11094); Frankle et al. 2021 (Pruning neural
networks at initialization: why are we missing the mark?, arXiv 2009.08576).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from synflow_bench.leaderboard._board import Entry, Row
from synflow_bench.leaderboard._statistics import Estimate, paired_difference
from synflow_bench.suites import canonical

Twins = Mapping[str, Row]
"""Ablation -> the row of the same pruner under it."""


def with_gaps(rows: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    """The rows with their gaps, and the ablated rows that the gaps stand for.

    An ablated row without a plain one of the same pruner, parameters and revision stays a row.
    """
    given = list(rows)
    twins: dict[str, dict[str, Row]] = {_identity(row): {} for row in given if row.ablation == "none"}
    for row in given:
        if row.ablation != "none" and _identity(row) in twins:
            twins[_identity(row)][row.ablation] = row
    folded = [row for found in twins.values() for row in found.values()]
    shown = [row for row in given if not any(row is other for other in folded)]
    return [_against(row, found) if (found := twins.get(_identity(row))) else row for row in shown], folded


def _identity(row: Row) -> str:
    return canonical([row.pruner, row.parameters, row.revision])


def _against(row: Row, twins: Twins) -> Row:
    areas = {name: paired_difference(row.areas, twin.areas) for name, twin in twins.items()}
    entries = tuple(replace(entry, gaps=_gaps(entry, twins)) for entry in row.entries)
    return replace(row, entries=entries, area_gaps=_present(areas))


def _gaps(entry: Entry, twins: Twins) -> dict[str, Estimate]:
    others = {name: twin.at(entry.compression) for name, twin in twins.items()}
    return _present(
        {name: paired_difference(entry.top1, other.top1) if other else None for name, other in others.items()}
    )


def _present(gaps: Mapping[str, Estimate | None]) -> dict[str, Estimate]:
    return {name: gap for name, gap in gaps.items() if gap}
