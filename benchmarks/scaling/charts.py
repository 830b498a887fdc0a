"""The charts of the page on scaling, in the style of all charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt

from synflow_bench.charts import PALETTE, SHAPES, chart_bytes, titled

Rows = Sequence[Mapping[str, Any]]
PANELS = {
    "weights": "prunable weights",
    "rounds": "rounds",
    "examples": "training examples",
    "cells": "cells",
}
SIZE = {"width": 250, "height": 190}


def write_growth(path: Path, points: Rows, fits: Rows) -> None:
    """Seconds against size, a panel for each axis with three points or more, with the fitted lines."""
    panels = [_panel(axis, title, points, fits) for axis, title in PANELS.items()]
    rows = [_apart(alt.hconcat(*panels[:2])), _apart(alt.hconcat(*panels[2:]))]
    chart = _apart(alt.vconcat(*rows))
    lines = ["one thread; points are the least of several repeats, lines are power laws: slope in the legend"]
    path.write_bytes(chart_bytes(titled(chart, "How costs grow", lines), path))


def _apart(chart: Any) -> Any:
    return chart.resolve_scale(color="independent", shape="independent")


def _panel(axis: str, title: str, points: Rows, fits: Rows) -> Any:
    slopes = {fit["cost"]: fit for fit in fits if fit["axis"] == axis}
    names = {cost: f"{cost}: {fit['slope']:.2f}" for cost, fit in slopes.items()}
    rows = [
        {
            "x": point["x"],
            "seconds": point["seconds"],
            "fit": slopes[point["cost"]]["factor"] * point["x"] ** slopes[point["cost"]]["slope"],
            "cost": names[point["cost"]],
        }
        for point in points
        if point["axis"] == axis and point["cost"] in slopes
    ]
    base = alt.Chart(alt.Data(values=rows))
    x = alt.X("x:Q", scale=alt.Scale(type="log"), title=title, axis=alt.Axis(format="~s", tickCount=5))
    colour = _coded(list(names.values()))
    seconds = alt.Axis(format="~g", tickCount=4)
    scale = alt.Scale(type="log")
    lines = base.mark_line(strokeWidth=1.2).encode(
        x=x, y=alt.Y("fit:Q", scale=scale, title="seconds", axis=seconds), color=colour["color"]
    )
    marks = base.mark_point(size=50, filled=True, opacity=1).encode(
        x=x, y=alt.Y("seconds:Q", scale=scale), **colour
    )
    return alt.layer(lines, marks).properties(**SIZE)


def _coded(names: list[str]) -> dict[str, Any]:
    legend = alt.Legend(title=None, orient="top", direction="vertical")
    many = len(names)
    return {
        "color": alt.Color(
            "cost:N", scale=alt.Scale(domain=names, range=list(PALETTE[:many])), legend=legend
        ),
        "shape": alt.Shape("cost:N", scale=alt.Scale(domain=names, range=list(SHAPES[:many])), legend=legend),
    }


def write_cluster(path: Path, rows: Rows) -> None:
    """Hours and utilisation against the number of GPUs by order of the cells; hours against failures."""
    by_gpus = [row for row in rows if row["study"] == "gpus"]
    failing = [row for row in rows if row["study"] == "failures"]
    orders = list(dict.fromkeys(row["order"] for row in by_gpus))
    panels = [
        _against("gpus", "GPUs", "makespan_hours", "hours until the last cell", by_gpus, orders, log=True),
        _against("gpus", "GPUs", "utilisation", "utilisation", by_gpus, orders, log=False),
        _against(
            "failures_per_hour", "failures a GPU-hour", "lost_share", "work lost", failing, orders, log=False
        ),
    ]
    lines = ["simulated: mean of several seeds; assumptions are on the page"]
    chart = titled(alt.hconcat(*panels), "The suite synflow-2020 on a cluster", lines)
    path.write_bytes(chart_bytes(chart, path))


def _against(x: str, x_title: str, y: str, y_title: str, rows: Rows, orders: list[str], *, log: bool) -> Any:
    scale = alt.Scale(type="log") if log else alt.Scale(domainMin=0)
    legend = alt.Legend(title="order of cells", orient="bottom")
    domain, many = orders, len(orders)
    return (
        alt.Chart(alt.Data(values=[dict(row) for row in rows]))
        .mark_line(point={"size": 40, "filled": True})
        .encode(
            x=alt.X(
                f"{x}:Q", scale=alt.Scale(type="log"), title=x_title, axis=alt.Axis(format="~g", tickCount=4)
            ),
            y=alt.Y(
                f"{y}:Q", scale=scale, title=y_title, axis=alt.Axis(format="~g" if log else "%", tickCount=5)
            ),
            color=alt.Color(
                "order:N", scale=alt.Scale(domain=domain, range=list(PALETTE[:many])), legend=legend
            ),
            shape=alt.Shape(
                "order:N", scale=alt.Scale(domain=domain, range=list(SHAPES[:many])), legend=legend
            ),
        )
        .properties(width=210, height=200)
    )
