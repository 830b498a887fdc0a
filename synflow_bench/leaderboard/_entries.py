"""One row's records, aggregated at every compression."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from synflow_bench.leaderboard._board import Collapse, Entry, Row
from synflow_bench.leaderboard._statistics import estimate, mean
from synflow_bench.records import Metrics, Result, printable


def build_row(label: str, records: Sequence[Result]) -> Row:
    """The row of `records`, which share pruner, parameters and revision, without its area."""
    cell = records[0].cell
    entries = tuple(_entries(records))
    return Row(
        label=printable(label),
        pruner=cell.pruner.name,
        parameters=dict(cell.pruner.parameters),
        ablation=cell.ablation,
        revision=cell.revisions.pruner,
        entries=entries,
        areas={},
        area=None,
        intact_to=_intact_to(entries),
    )


def _entries(records: Sequence[Result]) -> Iterable[Entry]:
    by_compression: dict[float, list[Result]] = {}
    for record in records:
        by_compression.setdefault(record.cell.compression, []).append(record)
    return (_entry(compression, group) for compression, group in sorted(by_compression.items()))


def _entry(compression: float, records: Sequence[Result]) -> Entry:
    done = {
        record.cell.seed: record.metrics for record in records if record.metrics and record.status == "ok"
    }
    metrics = list(done.values())
    top1 = {seed: done[seed].test_top1 for seed in sorted(done)}
    return Entry(
        compression=compression,
        top1=top1,
        accuracy=estimate(list(top1.values())) if top1 else None,
        standing=None,
        achieved_compression=_mean_of(each.compression for each in metrics),
        effective_compression=_mean_of(each.effective_compression for each in metrics),
        theoretical_speedup=_mean_of(each.theoretical_speedup for each in metrics),
        prune_seconds=_mean_of(r.timing.prune_seconds for r in records if r.timing and r.status == "ok"),
        collapsed=_collapsed(metrics),
        diverged=sum(each.diverged for each in metrics),
        failed=sum(record.status == "failed" for record in records),
        skipped=sum(record.status == "skipped" for record in records),
    )


def _mean_of(values: Iterable[float | None]) -> float | None:
    """The mean, or None unless every seed has the number: a mean over some would mislead."""
    given = list(values)
    present = [value for value in given if value is not None]
    return mean(present) if present and len(present) == len(given) else None


def _collapsed(metrics: Iterable[Metrics]) -> tuple[Collapse, ...]:
    count = Counter(layer for each in metrics for layer in each.collapsed_layers)
    return tuple(Collapse(printable(layer), seeds) for layer, seeds in sorted(count.items()))


def _intact_to(entries: Sequence[Entry]) -> float | None:
    reached = None
    for entry in entries:
        if entry.collapsed:
            break
        reached = entry.compression if entry.top1 else reached
    return reached
