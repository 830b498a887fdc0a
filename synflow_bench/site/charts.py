"""Charts of the site and figures for papers, each described once with altair."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from synflow_bench.charts import PALETTE, RAMP, SOFT, MarkStyle, mark_styles, titled
from synflow_bench.errors import UsageError, count
from synflow_bench.leaderboard import Board, BoardRow, Estimate, Leaderboard
from synflow_bench.leaderboard.costs import TOLERANCE, amount, pays, point_is_partial
from synflow_bench.leaderboard.formatting import interval
from synflow_bench.records import Record

AXES = {"compression": "compression", "effective": "effective compression"}
"""Axis of accuracy -> its title."""
Values = list[dict[str, Any]]

_WIDTH, _HEIGHT, _COLUMNS = 380, 260, 2
_MARGIN = 4.0
"""Percentage points between the outermost mean and the end of the axis."""
_POINTER_AREA = 350
"""The area around a point that reacts to the pointer, in square pixels."""
_BAND = 0.1
_BANDS = 8
"""The opacity of a band, and the most rows whose bands are all drawn; of more, that of a chosen row is."""
_LEGEND = 14
_LINE = 17
"""The most rows in one column of a legend, and the pixels of a line of it."""


def drawn_rows(board: Board) -> list[BoardRow]:
    """Return the rows that have a curve; the dense network is a horizontal line."""
    return [row for row in board.rows if not row.is_dense and any(point.accuracy for point in row.points)]


def row_styles(boards: Iterable[Board]) -> dict[str, MarkStyle]:
    """Return the style of each row by its label, the same on every board; its color is that of its pruner."""
    return mark_styles({row.label: row.pruner for board in boards for row in drawn_rows(board)})


def has_effective(board: Board) -> bool:
    """Return True if some row can be drawn against effective compression."""
    return any(value["effective"] is not None for value in _accuracies(board))


def accuracy_chart(board: Board, styles: Mapping[str, MarkStyle]) -> Any:
    """Return the chart of a board for a page.

    Its parameter `axis` is one of `AXES`, `budget` the most that a point may cost or 0, and `shown` lists
    the rows that are drawn. The row under the pointer is highlighted, or else the rows that the parameter
    `picked` lists.
    """
    import altair as alt

    values = _accuracies(board)
    base = (
        alt.Chart(alt.InlineData(values=values))
        .transform_calculate(x="datum[axis]")
        .transform_filter("isValid(datum.x) && indexof(shown, datum.row) >= 0")
        .transform_filter(f"budget == 0 || isValid(datum.cost) && datum.cost <= {TOLERANCE} * budget")
    )
    budget = alt.param(name="budget", value=0)

    shown = alt.param(name="shown", value=list(dict.fromkeys(value["row"] for value in values)))
    axis = alt.param(name="axis", value="compression")
    hover = pointed_row()
    chart = _layers(board, base, styles, None, None, hover).add_params(shown, axis, budget, picked_rows())
    return titled(chart.properties(width="container", height=340), "")


def pointed_row() -> Any:
    """Return the selection of the row under the pointer."""
    import altair as alt

    return alt.selection_point(name="hover", fields=["row"], on="pointerover", clear="pointerout")


def picked_rows() -> Any:
    """Return the parameter that lists the rows which a reader has chosen."""
    import altair as alt

    return alt.param(name="picked", value=[])


def accuracy_figure(
    leaderboard: Leaderboard,
    axis: str = "compression",
    boards: Sequence[Board] | None = None,
    budget: float | None = None,
) -> Any:
    """Return accuracy against compression for a paper: an altair chart with a legend.

    Args:
        leaderboard: The leaderboard, which decides the styles of rows.
        axis: One of `AXES`.
        boards: The boards to draw side by side; by default all. Boards without a curve are left out.
        budget: Draw the points that cost at most so many dense trainings; by default all.

    Raises:
        UsageError: No board has a curve.
    """
    import altair as alt

    chosen = leaderboard.boards if boards is None else boards
    shown = [board for board in chosen if _on_axis(board, axis, budget)]
    if not shown and budget is not None and any(_on_axis(board, axis) for board in chosen):
        raise UsageError(f"no row costs at most {_trainings(budget)}, as far as costs are known")
    if not shown and axis == "effective":
        raise UsageError(
            "no finished cell of a pruner has an effective compression; draw accuracy against compression"
        )
    if not shown:
        raise UsageError(
            "no cell of a pruner has finished, so there is nothing to draw; run some cells first"
        )
    styles = row_styles(leaderboard.boards)
    panels = [_panel(board, styles, axis, budget) for board in shown]
    most = max(_rows(_on_axis(board, axis, budget)) for board in shown)
    what = "mean and 95 % t-interval" if most <= _BANDS else "mean"
    at_most = [] if budget is None else [f"points that cost at most {_trainings(budget)}"]
    notes = [*at_most, *_explanations(shown, axis)]
    if len(panels) == 1:
        board = shown[0]
        lines = [f"{count(len(board.seeds), 'seed')}, {what}; setting {board.id}"]
        return titled(panels[0], board.heading, [*lines, *notes])
    named = [panel.properties(title=board.heading) for panel, board in zip(panels, shown, strict=True)]
    lines = [what, *notes]
    return titled(alt.concat(*named, columns=_COLUMNS), f"Accuracy against {AXES[axis]}", lines)


def _explanations(boards: Sequence[Board], axis: str) -> Iterator[str]:
    """Yield notes on the dense network and on points that are not drawn."""
    if any(map(_dense, boards)):
        yield "dashed gray: dense network"
    missing = sum(len(_accuracies(board)) - len(_on_axis(board, axis)) for board in boards)
    if missing:
        points = count(missing, "point")
        yield f"not drawn: {points} without effective compression (collapsed, or not traced)"


def _panel(board: Board, styles: Mapping[str, MarkStyle], axis: str, budget: float | None) -> Any:
    import altair as alt

    values = _on_axis(board, axis, budget)
    base, rows = alt.Chart(alt.InlineData(values=values)), _rows(values)
    chart = _layers(board, base, styles, AXES[axis], figure_legend(rows), values=values)
    return chart.properties(width=_WIDTH, height=max(_HEIGHT, legend_size(rows)))


def _rows(values: Values) -> int:
    return len({value["row"] for value in values})


def figure_legend(rows: int) -> Any:
    """Return the legend of a figure, in as many columns as so many rows need."""
    import altair as alt

    columns = math.ceil(rows / _LEGEND)
    return alt.Legend(title=None, orient="right", symbolOpacity=1, columns=columns)


def legend_size(rows: int) -> int:
    """Return the height in pixels of a legend of so many rows."""
    return _LINE * math.ceil(rows / math.ceil(rows / _LEGEND))


def _accuracies(board: Board) -> Values:
    """Return one value per row and compression: mean and interval in percent, both compressions."""
    return [
        {
            "row": row.label,
            "compression": point.compression,
            "effective": point.means["effective_compression"],
            "cost": point.means.get("cost"),
            "costs": amount(point.means.get("cost"), partial=point_is_partial(point)),
            **band(point.accuracy),
        }
        for row in drawn_rows(board)
        for point in row.points
        if point.accuracy
    ]


def _on_axis(board: Board, axis: str, budget: float | None = None) -> Values:
    return [
        value | {"x": value[axis]}
        for value in _accuracies(board)
        if value[axis] is not None and (budget is None or _costs_at_most(value, budget))
    ]


def _trainings(budget: float) -> str:
    return f"{budget:g} dense training{'s' * (budget != 1)}"


def _costs_at_most(value: Mapping[str, Any], budget: float) -> bool:
    return value["cost"] is not None and pays(budget, value["cost"])


def _dense(board: Board) -> Values:
    """Return the accuracy of the unpruned network, if it was recorded."""
    dense = [point for row in board.rows if row.is_dense for point in row.points]
    return [band(point.accuracy) for point in dense if point.accuracy]


def band(accuracy: Estimate) -> dict[str, Any]:
    """Return an accuracy and its interval in percent, and both as text."""
    low = accuracy.mean if accuracy.low is None else accuracy.low
    high = accuracy.mean if accuracy.high is None else accuracy.high
    text = interval(accuracy)
    return {"mean": 100 * accuracy.mean, "low": 100 * low, "high": 100 * high, "text": text, "n": accuracy.n}


def _layers(
    board: Board,
    base: Any,
    styles: Mapping[str, MarkStyle],
    title: str | None,
    legend: Any,
    hover: Any = None,
    values: Values | None = None,
) -> Any:
    """Return the curves, bands and points of `base`, whose values have `x`; `title` is that of the axis."""
    import altair as alt

    values = _accuracies(board) if values is None else values
    labels = list(dict.fromkeys(value["row"] for value in values))
    x = alt.X("x:Q", title=title, scale=alt.Scale(type="log", nice=False, padding=12))
    x = x.axis(values=_ticks(values), format="~g", grid=False, labelOverlap="greedy")
    y_scale = alt.Scale(domain=accuracy_span(board, values), nice=False, zero=False)
    y, low = alt.Y("mean:Q", title="test top-1 (%)", scale=y_scale), alt.Y("low:Q", scale=y_scale)
    color, dash, shape = row_channels(labels, styles, legend)
    faint = _BAND if len(labels) <= _BANDS else 0.0
    line, band = row_opacity(hover, 1.0, 1.0, 0.2), row_opacity(hover, 0.3, faint, faint)
    points = base.mark_point(filled=True, size=50, clip=True, aria=False)
    targets = base.mark_point(filled=True, size=_POINTER_AREA, opacity=0, clip=True)
    targets = targets.encode(x, y, tooltip=_tooltip())
    return alt.layer(
        *dense_layers(board, y_scale),
        base.mark_area(clip=True).encode(x, y=low, y2="high:Q", color=color, fillOpacity=band),
        base.mark_line(clip=True).encode(x, y, color, dash, opacity=line),
        points.encode(x, y, color, shape, opacity=line),
        targets if hover is None else targets.add_params(hover),
    )


def accuracy_span(board: Board, values: Values) -> list[float]:
    """Return the range of an axis of these accuracies: it covers all means, and clips wide intervals."""
    means = [value["mean"] for value in (*values, *_dense(board))] or [0.0, 100.0]
    return [max(0.0, math.floor(min(means) - _MARGIN)), min(100.0, math.ceil(max(means) + _MARGIN))]


def _ticks(values: Values) -> list[float]:
    """Return ticks at 1, 2, 5, 10 and so on up to the largest requested compression.

    Only powers of ten are returned over many decades, and for larger effective compressions.
    """
    requested = _decades(value["compression"] for value in values)
    steps = (1, 2, 5) if requested < 4 else (1,)
    fine = [step * 10.0**decade for decade in range(requested + 1) for step in steps]
    beyond = range(requested + 1, 1 + _decades(value["effective"] for value in values))
    return [*fine, *(10.0**decade for decade in beyond)]


def _decades(factors: Iterable[float | None]) -> int:
    return math.ceil(math.log10(max(filter(None, factors), default=10.0)) - 1e-9)


def row_channels(labels: Sequence[str], styles: Mapping[str, MarkStyle], legend: Any) -> tuple[Any, Any, Any]:
    """Return the channels that distinguish rows; color and shape share one legend.

    Dashes have a domain of their own: in one legend with the others they would break the outlines of symbols.
    """
    import altair as alt

    own = [styles[label] for label in labels]
    colors = alt.Scale(domain=labels, range=[style.color for style in own])
    dashes = alt.Scale(domain=[*labels, ""], range=[*(list(style.dash) for style in own), [1, 0]])
    shapes = alt.Scale(domain=labels, range=[style.shape for style in own])
    return (
        alt.Color("row:N", legend=legend, scale=colors),
        alt.StrokeDash("row:N", legend=None, scale=dashes),
        alt.Shape("row:N", legend=legend, scale=shapes),
    )


def row_opacity(hover: Any, near: float, still: float, far: float) -> Any:
    """Return `near` for the row under the pointer, or else for picked rows, and `far` for others.

    It is `still` for all rows where none is chosen, or without `hover`.
    """
    import altair as alt

    if hover is None:
        return alt.value(still)
    nothing = f"length(data('{hover.name}_store')) == 0"
    return (
        alt.when(hover, empty=False)
        .then(alt.value(near))
        .when(f"{nothing} && indexof(picked, datum.row) >= 0")
        .then(alt.value(near))
        .when(f"{nothing} && length(picked) == 0")
        .then(alt.value(still))
        .otherwise(alt.value(far))
    )


def _tooltip() -> Sequence[Any]:
    import altair as alt

    return [
        alt.Tooltip("row:N", title="pruner"),
        alt.Tooltip("text:N", title="test top-1 (%)"),
        alt.Tooltip("n:Q", title="seeds"),
        alt.Tooltip("compression:Q", format="~g"),
        alt.Tooltip("effective:Q", format=".4~g", title="effective"),
        alt.Tooltip("costs:N", title="cost"),
    ]


def dense_layers(board: Board, scale: Any) -> list[Any]:
    """Return the layers of the unpruned network: a dashed horizontal line and the band of its interval."""
    import altair as alt

    values = _dense(board)
    if not values:
        return []
    base = alt.Chart(alt.InlineData(values=values))
    y, low = alt.Y("mean:Q", scale=scale), alt.Y("low:Q", scale=scale)
    return [
        base.mark_rect(color=SOFT, opacity=0.08, clip=True).encode(y=low, y2="high:Q"),
        base.mark_rule(color=SOFT, strokeDash=[4, 3], clip=True).encode(
            y=y, tooltip=alt.Tooltip("text:N", title="dense")
        ),
    ]


def curve_values(record: Record) -> tuple[Values, Values]:
    """Return a training curve: accuracies in percent, and losses; `series` distinguishes them."""

    def values(attributes: Mapping[str, str], factor: int) -> Values:
        return [
            {"series": series, "epoch": point.epoch, "value": None if value is None else factor * value}
            for series, attribute in attributes.items()
            for point in record.curve
            for value in [getattr(point, attribute)]
        ]

    accuracies = values({"test top-1": "test_top1", "validation top-1": "val_top1"}, factor=100)
    return accuracies, values({"test loss": "test_loss", "training loss": "train_loss"}, factor=1)


def shared_charts() -> dict[str, Any]:
    """Return Vega-Lite specifications without values, by name; pages add their own values to them."""
    charts = {"layers": _densities(), "accuracies": _curve("top-1 (%)"), "losses": _curve("loss")}
    return {name: titled(chart, "").to_dict() for name, chart in charts.items()}


def _densities() -> Any:
    """Return density by layer, one color per compression: kept weights solid, those on a path dashed."""
    import altair as alt

    picked = alt.selection_point(name="picked", fields=["compression"], bind="legend", toggle="true")
    order = alt.SortField("place")
    x = alt.X("layer:N", sort=order, title=None, axis=alt.Axis(labelAngle=-40, labelLimit=110, grid=False))
    y = alt.Y("density:Q", title="density (%)", scale=alt.Scale(type="log", nice=False, domainMax=100))
    y = y.axis(values=[10.0**power for power in range(2, -8, -1)], format="~g")
    colors = alt.Scale(scheme=alt.SchemeParams(name=RAMP, extent=[0.15, 0.88]))
    # In the order of the values: as text, 100 would come before 2.
    color = alt.Color("compression:O", sort=None, scale=colors, legend=alt.Legend(symbolType="stroke"))
    dash = alt.StrokeDash(
        "kind:N",
        title=None,
        legend=alt.Legend(symbolType="stroke"),
        scale=alt.Scale(domain=["kept", "effective"], range=[[1, 0], [4, 3]]),
    )
    near = alt.when(picked).then(alt.value(1)).otherwise(alt.value(0.08))
    tips = [
        alt.Tooltip("layer:N"),
        alt.Tooltip("compression:N"),
        alt.Tooltip("kind:N"),
        alt.Tooltip("text:N", title="density"),
    ]
    line = alt.Chart(alt.NamedData("values")).mark_line(point=alt.OverlayMarkDef(size=30))
    line = line.encode(x, y, color, dash, opacity=near, tooltip=tips)
    return line.add_params(picked).properties(width="container", height=300)


def _curve(title: str) -> Any:
    import altair as alt

    legend = alt.Legend(title=None, orient="top", symbolType="stroke", symbolSize=300)
    color = alt.Color("series:N", sort=None, legend=legend, scale=alt.Scale(range=list(PALETTE[:2])))
    dash = alt.StrokeDash("series:N", sort=None, legend=legend)
    y = alt.Y("value:Q", title=title, scale=alt.Scale(zero=False))
    x = alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1, grid=False, format="d"))
    tips = [alt.Tooltip("series:N"), alt.Tooltip("epoch:Q"), alt.Tooltip("value:Q", format=".4~g")]
    line = alt.Chart(alt.NamedData("values")).mark_line(point=alt.OverlayMarkDef(size=25))
    return line.encode(x, y, color, dash, tooltip=tips).properties(width="container", height=220)
