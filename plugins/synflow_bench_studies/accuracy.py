"""Accuracy against compression and critical compressions, ours and published (figures 1, 5a and 6).

Tanaka et al. 2020, arXiv 2006.05467. The critical compression of a pruner is the largest compression ratio up
to which no layer is empty, that is, every layer keeps a weight, in every seed.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, pairwise, takewhile
from math import log10
from pathlib import Path
from typing import Any

from synflow_bench.charts import HEIGHT, PALETTE, SHAPES, WIDTH, mark_styles
from synflow_bench.errors import count
from synflow_bench.leaderboard import published_tables
from synflow_bench.records import Metrics, Record
from synflow_bench.suites import DENSE
from synflow_bench_studies.panels import log_axis, network
from synflow_bench_studies.table import Row, aligned

METRIC = "final"
"""The metric of our accuracies: test top-1 after the last epoch."""

PUBLISHED_STEP = 0.25
"""Decades between the compression ratios of the published runs."""

CITATION = (
    "published: Tanaka, Kunin, Yamins, Ganguli 2020, arXiv 2006.05467",
    "published accuracy is max_test, the best epoch's; grasp is suspect: it ran before a sign was corrected",
)

_FILE = Path(__file__).parent / "published" / "critical_compression.csv"
_WIDE = int(WIDTH * 1.25)


def accuracy_rows(records: Iterable[Record]) -> list[Row]:
    """Make one row per record with metrics, then one per published mean of the same datasets and networks."""
    ours = [_ours(record, record.metrics) for record in records if record.metrics is not None]
    settings = dict.fromkeys((row["dataset"], row["model"]) for row in ours)
    return aligned(ours + [row for setting in settings for row in _published(*setting)])


def accuracy_lines(rows: Sequence[Row]) -> list[str]:
    """Describe whose accuracies are drawn, over how many seeds, and which published ones are left out."""
    ours = [row for row in rows if row["source"] == "ours"]
    seeds = len({row["seed"] for row in ours})
    settings = dict.fromkeys((row["dataset"], row["model"]) for row in ours)
    return [
        f"ours: final-epoch accuracy, mean of {count(seeds, 'seed')}; dotted line: dense network",
        *(CITATION if has_published(rows) else ()),
        *dict.fromkeys(line for setting in settings if (line := _misnamed(*setting))),
    ]


def accuracy_chart(rows: Sequence[Row], columns: int = 2) -> Any:
    """Draw accuracy by compression: a color per pruner, a panel per setting, dashed lines if published."""
    import altair as alt

    by_levels = any(row["levels"] for row in rows)
    named = [
        {**row, "series": _series(row, by_levels), "setting": network(row)}
        for row in rows
        if row["pruner"] != DENSE
    ]
    dense = [row for row in rows if row["pruner"] == DENSE]
    ordered = sorted(named, key=lambda row: row["setting"])
    charts = [
        _panel(list(group), [row for row in dense if network(row) == setting], named)
        for setting, group in groupby(ordered, key=lambda row: row["setting"])
    ]
    return alt.concat(*charts, columns=columns)


def has_published(rows: Sequence[Row]) -> bool:
    """Return whether some of the rows are published ones."""
    return any(row["source"] == "published" for row in rows)


def critical_rows(rows: Sequence[Row], *, published: bool) -> list[Row]:
    """Make one row per pruner with its critical compression, and with `published` one per published run.

    A pruner that empties a layer at every compression ratio has 1, that of the dense network.
    """
    ours = [
        {"source": "ours", "pruner": pruner, "critical": max(_alive(rows, pruner), default=1.0)}
        for pruner in _pruners(rows)
    ]
    return ours + (list(published_critical_compressions()) if published else [])


def published_critical_compressions() -> Iterator[Row]:
    """Yield the published critical compressions of `lottery/vgg16-bn` on CIFAR-100, per pruner and run."""
    with _FILE.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            for run in ("run1", "run2", "run3"):
                yield {"source": "published", "pruner": line["pruner"], "critical": 10 ** float(line[run])}


def critical_lines(rows: Sequence[Row], *, published: bool) -> list[str]:
    """Describe the critical compressions of `rows`, and name the pruners at either end of the axis."""
    alive = {pruner: _alive(rows, pruner) for pruner in _pruners(rows)}
    never = [pruner for pruner, compressions in alive.items() if not compressions]
    always = [pruner for pruner, found in alive.items() if found == _compressions(rows, pruner)]
    points = "; published: a point per run" if published else ""
    lines = [f"below, ours: the largest ratio up to which every layer keeps a weight in all seeds{points}"]
    if never:
        lines.append(f"at the left edge, with an empty layer at every ratio drawn: {', '.join(never)}")
    if always:
        lines.append(f"without an empty layer at any ratio drawn: {', '.join(always)}")
    step = _step(rows)
    if published and step > PUBLISHED_STEP:
        steps = f"{step:g} decades apart, published ones {PUBLISHED_STEP:g}"
        lines.append(f"our ratios are {steps}: our critical compressions may be lower for that reason alone")
    return lines


def critical_chart(rows: Sequence[Row]) -> Any:
    """Draw the critical compression of each pruner: of ours one point, of published ones a point per run."""
    import altair as alt

    data = alt.Data(values=list(rows))  # type: ignore[no-untyped-call]
    domain = ["ours", "published"] if has_published(rows) else ["ours"]
    colors, shapes = (
        alt.Scale(domain=domain, range=list(values[: len(domain)])) for values in (PALETTE, SHAPES)
    )
    encoded = (
        alt.Chart(data)
        .mark_point(filled=True, size=60, opacity=0.8)
        .encode(
            x=alt.X(
                "critical:Q",
                title="critical compression: the largest ratio without an empty layer",
                scale=alt.Scale(type="log"),
                axis=log_axis(row["critical"] for row in rows),
            ),
            y=alt.Y("pruner:N", title=None, sort=list(dict.fromkeys(row["pruner"] for row in rows))),
            color=alt.Color("source:N", title=None, scale=colors),
            shape=alt.Shape("source:N", title=None, scale=shapes),
        )
    )
    return encoded.properties(width=_WIDE, height=120)


def _ours(record: Record, metrics: Metrics) -> Row:
    cell, protocol = record.cell, record.cell.setting.protocol
    return {
        "source": "ours",
        "metric": METRIC,
        "dataset": cell.setting.dataset_label,
        "model": cell.setting.model.name,
        "pruner": cell.row,
        "levels": protocol.levels,
        "compression": cell.compression,
        "seed": cell.seed,
        "top1": metrics.test_top1,
        "collapsed": bool(metrics.collapsed_layers),
        "empty": any(layer.kept == 0 for layer in record.layers),
        "suspect": False,
    }


def _published(dataset: str, model: str) -> Iterator[Row]:
    """The published mean accuracies of a dataset and network, without those of `_misnamed`."""
    for table in published_tables():
        if (table.dataset, table.model, table.reported_model) != (dataset, model, model):
            continue
        names = {"source": "published", "metric": table.metric, "dataset": dataset, "levels": 0}
        for row in table.rows:
            for compression, accuracy in row.accuracy.items():
                shared = {**names, "model": model, "pruner": row.pruner, "suspect": row.suspect}
                yield {**shared, "compression": compression, "seed": None, "top1": accuracy.mean}


def _misnamed(dataset: str, model: str) -> str | None:
    """A line on results that were published under the name of this network but are of another; else None."""
    for table in published_tables():
        if (table.dataset, table.reported_model) == (dataset, model) and table.model != model:
            reason = f"the authors' block ignored its width, so the network was {table.model}"
            return f"left out: results published as {model}; {reason}"
    return None


def _series(row: Row, by_levels: bool) -> str:
    if not by_levels:
        return str(row["pruner"])
    return count(row["levels"], "level") if row["levels"] else "at initialization"


def _panel(rows: Sequence[Row], dense: Sequence[Row], everything: Sequence[Row]) -> Any:
    import altair as alt

    series = list(dict.fromkeys(row["series"] for row in everything))
    styles = mark_styles(series)
    colors = alt.Scale(domain=series, range=[styles[name].color for name in series])
    shapes = alt.Scale(domain=series, range=[styles[name].shape for name in series])
    dash = alt.StrokeDash(
        "source:N",
        title=None,
        scale=alt.Scale(domain=["ours", "published"], range=[[1, 0], [4, 3]]),
        legend=alt.Legend() if {row["source"] for row in everything} == {"ours", "published"} else None,
    )
    data = alt.Data(values=list(rows))  # type: ignore[no-untyped-call]
    base = alt.Chart(data).encode(
        x=alt.X(
            "compression:Q",
            title="compression ratio",
            scale=alt.Scale(type="log"),
            axis=log_axis((row["compression"] for row in everything), grid=False),
        ),
        y=alt.Y(
            "mean(top1):Q",
            title="test top-1 accuracy (%)",
            axis=alt.Axis(format=".0%", labelExpr="round(datum.value * 100)"),
            scale=alt.Scale(domain=[0, 1]),
        ),
        color=alt.Color("series:N", title=None, scale=colors),
        detail="source:N",
    )
    layers = [
        base.mark_line().encode(strokeDash=dash),
        base.mark_point(filled=True, size=55).encode(shape=alt.Shape("series:N", title=None, scale=shapes)),
    ]
    if dense:
        mean = sum(row["top1"] for row in dense) / len(dense)
        rule = alt.Chart(data).mark_rule(strokeDash=[2, 3], color="#1d2329")
        layers.insert(0, rule.encode(y=alt.datum(mean)))
    return alt.layer(*layers).properties(
        width=_WIDE,
        height=HEIGHT,
        title=alt.TitleParams(rows[0]["setting"], fontSize=12, anchor="middle", offset=6),
    )


def _pruned(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["source"] == "ours" and row["pruner"] != DENSE]


def _pruners(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["pruner"] for row in _pruned(rows)))


def _compressions(rows: Sequence[Row], pruner: str | None = None) -> list[float]:
    """The compression ratios of one pruner or of all, in ascending order."""
    return sorted({row["compression"] for row in _pruned(rows) if pruner in (None, row["pruner"])})


def _alive(rows: Sequence[Row], pruner: str) -> list[float]:
    """The compression ratios of `pruner` below the first at which a layer of any seed is empty."""
    emptied = {row["compression"] for row in _pruned(rows) if row["pruner"] == pruner and row["empty"]}
    return list(takewhile(lambda compression: compression not in emptied, _compressions(rows, pruner)))


def _step(rows: Sequence[Row]) -> float:
    """The largest step between compression ratios, in decades."""
    logs = [log10(compression) for compression in _compressions(rows)]
    return max((round(after - before, 2) for before, after in pairwise(logs)), default=0.0)
