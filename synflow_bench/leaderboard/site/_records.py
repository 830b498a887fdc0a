"""Records as lines of tables and as values of their own pages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from synflow_bench.leaderboard._rows import rows_of
from synflow_bench.leaderboard._text import BLANK, compression, factor, percent, seconds
from synflow_bench.records import Metrics, Record, Result, Timing, printable

Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class Line:
    """One record in a table; `outdated` ones are of an older revision, and on no board."""

    key: str
    board: str
    label: str
    outdated: bool
    cells: tuple[str, ...]


def lines_of(results: Iterable[Result]) -> dict[str, Line]:
    """Key -> line, ordered by row, compression and seed."""
    by_setting: dict[str, list[Result]] = {}
    for result in results:
        by_setting.setdefault(result.cell.setting.digest, []).append(result)
    lines = [line for group in by_setting.values() for line in _lines(group)]
    return {line.key: line for line in lines}


def _lines(results: list[Result]) -> Iterator[Line]:
    rows, _ = rows_of(results)
    labels = {result.key: label for label, row in rows.items() for result in row}
    for result in sorted(results, key=lambda each: (each.cell.row, each.cell.compression, each.cell.seed)):
        label = labels.get(result.key)
        shown = printable(result.cell.row if label is None else label)
        yield Line(result.key, result.cell.setting.id, shown, label is None, tuple(_cells(result)))


def _cells(result: Result) -> Iterator[str]:
    cell, metrics, timing = result.cell, result.metrics, result.timing
    yield compression(cell.compression)
    yield str(cell.seed)
    yield result.status
    yield f"{100 * metrics.test_top1:.2f}" if metrics else BLANK
    yield factor(metrics.compression if metrics else None)
    yield factor(metrics.effective_compression if metrics else None)
    yield factor(metrics.theoretical_speedup if metrics else None)
    yield seconds(timing.prune_seconds if timing else None)
    yield seconds(timing.train_seconds if timing else None)


def share(value: float | None, digits: int = 2) -> str:
    """A share in percent."""
    return BLANK if value is None else f"{100 * value:.{digits}f} %"


def short(value: float | None) -> str:
    """A loss or a rate in four digits."""
    return BLANK if value is None else f"{value:.4g}"


def metric_pairs(metrics: Metrics) -> Pairs:
    """The numbers of a record by the names of their definitions."""
    followed = factor(metrics.effective_compression)
    return [
        ("test top-1", share(metrics.test_top1)),
        ("test top-5", share(metrics.test_top5)),
        ("test loss", short(metrics.test_loss)),
        ("validation top-1", share(metrics.val_top1)),
        ("best epoch", share(metrics.max_test_top1)),
        ("untrained", share(metrics.init_top1)),
        ("density", share(metrics.density, 3)),
        ("achieved", factor(metrics.compression)),
        ("over all parameters", factor(metrics.compression_all)),
        ("effective", printable(metrics.not_followed) if metrics.not_followed else followed),
        ("speedup", factor(metrics.theoretical_speedup)),
        ("collapsed", ", ".join(map(printable, metrics.collapsed_layers)) or "no layer"),
        ("diverged", "yes" if metrics.diverged else "no"),
    ]


def timing_pairs(timing: Timing) -> Pairs:
    """Seconds of the parts of a cell."""
    parts = {
        "prune s": timing.prune_seconds,
        "train s": timing.train_seconds,
        "total s": timing.total_seconds,
    }
    return [(name, seconds(value)) for name, value in parts.items()]


def provenance_pairs(record: Record) -> Pairs:
    """Where and with what the record was made, and the sha256 of its masks."""
    told = dict(_leaves(record.provenance.model_dump(mode="json")))
    return list({**told, **({"masks, sha256": record.masks} if record.masks else {})}.items())


def cell_pairs(record: Record) -> Pairs:
    """Every field that decides the result."""
    return list(_leaves(record.cell.model_dump(mode="json", exclude={"pruner": {"label"}})))


def _leaves(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield printable(f"{above}{name}"), BLANK if value in (None, {}, []) else printable(str(value))


def accuracy_title(record: Record, label: str) -> str:
    """`synflow, compression 10, seed 0`."""
    return f"{label}, compression {compression(record.cell.compression)}, seed {record.cell.seed}"


def density_cell(both: tuple[float, float | None] | None) -> str:
    """Kept and effective density of a layer in percent."""
    if both is None:
        return BLANK
    kept, effective = both
    return _digits(kept) if effective is None else f"{_digits(kept)} / {_digits(effective)}"


def _digits(density: float) -> str:
    return percent(density) if density >= 0.01 or density == 0 else f"{100 * density:.2g}"
