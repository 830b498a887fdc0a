"""Accuracy against compression, from records: figures 1, 5a and 6 of Tanaka et al. 2020, arXiv 2006.05467."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from synflow_bench.charts import HEIGHT, PALETTE, SHAPES, WIDTH
from synflow_bench.records import Record
from synflow_bench.studies._panels import log_axis, network
from synflow_bench.studies._published import published_accuracy
from synflow_bench.studies._table import Row, aligned
from synflow_bench.suites import Multishot

METRIC = "final"
"""Of our accuracies: test top-1 after the last epoch."""


def accuracy_rows(records: Iterable[Record]) -> list[Row]:
    """A row a cell of ours, then the published means of the same data sets and networks."""
    ours = [row for record in records for row in _ours(record)]
    settings = dict.fromkeys((row["dataset"], row["model"]) for row in ours)
    return aligned(ours + [row for setting in settings for row in published_accuracy(*setting)])


def _ours(record: Record) -> Iterator[Row]:
    if record.metrics is None:
        return
    cell, protocol = record.cell, record.cell.setting.protocol
    yield {
        "source": "ours",
        "metric": METRIC,
        "dataset": cell.setting.dataset,
        "model": cell.setting.model.name,
        "pruner": cell.row,
        "levels": protocol.levels if isinstance(protocol, Multishot) else 0,
        "compression": cell.compression,
        "seed": cell.seed,
        "top1": record.metrics.test_top1,
        "collapsed": bool(record.metrics.collapsed_layers),
        "empty": any(layer.kept == 0 for layer in record.layers),
        "suspect": False,
    }


def comparison(rows: Sequence[Row], columns: int = 2) -> Any:
    """Accuracy by compression, a colour and shape a pruner, a panel a setting; published ones are dashed."""
    import altair as alt

    named = [
        {**row, "series": _series(row), "setting": network(row)} for row in rows if row["pruner"] != "dense"
    ]
    dense = [row for row in rows if row["pruner"] == "dense"]
    keys = ("dataset", "model")
    charts = [
        _panel(list(group), [row for row in dense if tuple(row[k] for k in keys) == setting], named)
        for setting, group in groupby(
            sorted(named, key=lambda r: r["setting"]), key=lambda r: tuple(r[k] for k in keys)
        )
    ]
    return alt.concat(*charts, columns=columns)


def _series(row: Row) -> str:
    if row["levels"] or row.get("by_levels"):
        count = row["levels"]
        return f"{count} level{'s' * (count > 1)}" if count else "at initialization"
    return str(row["pruner"])


def _panel(rows: Sequence[Row], dense: Sequence[Row], everything: Sequence[Row]) -> Any:
    import altair as alt

    series = list(dict.fromkeys(row["series"] for row in everything))
    both = {row["source"] for row in everything} == {"ours", "published"}
    colour = alt.Color(
        "series:N", title=None, scale=alt.Scale(domain=series, range=list(PALETTE[: len(series)]))
    )
    shape = alt.Shape(
        "series:N", title=None, scale=alt.Scale(domain=series, range=list(SHAPES[: len(series)]))
    )
    dash = alt.StrokeDash(
        "source:N",
        title=None,
        scale=alt.Scale(domain=["ours", "published"], range=[[1, 0], [4, 3]]),
        legend=alt.Legend() if both else None,
    )
    data = alt.Data(values=list(rows))  # type: ignore[no-untyped-call]
    base = alt.Chart(data).encode(
        x=alt.X(
            "compression:Q",
            title="compression",
            scale=alt.Scale(type="log"),
            axis=log_axis((row["compression"] for row in everything), grid=False),
        ),
        y=alt.Y(
            "mean(top1):Q",
            title="test top-1 accuracy (%)",
            axis=alt.Axis(format=".0%", labelExpr="round(datum.value * 100)"),
            scale=alt.Scale(domain=[0, 1]),
        ),
        color=colour,
        detail="source:N",
    )
    layers = [
        base.mark_line().encode(strokeDash=dash),
        base.mark_point(filled=True, size=55).encode(shape=shape),
    ]
    if dense:
        mean = sum(row["top1"] for row in dense) / len(dense)
        rule = alt.Chart(data).mark_rule(strokeDash=[2, 3], color="#1d2329")
        layers.insert(0, rule.encode(y=alt.datum(mean)))
    return alt.layer(*layers).properties(
        width=int(WIDTH * 1.25),
        height=HEIGHT,
        title=alt.TitleParams(rows[0]["setting"], fontSize=12, anchor="middle", offset=6),
    )
