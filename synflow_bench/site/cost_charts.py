"""Accuracy against cost at one compression: which row is worth its price."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from synflow_bench.charts import INK, SOFT, MarkStyle, titled
from synflow_bench.errors import UnknownNameError, UsageError, count
from synflow_bench.leaderboard import Board, Leaderboard
from synflow_bench.leaderboard.costs import amount, point_is_partial
from synflow_bench.leaderboard.formatting import compression
from synflow_bench.site.charts import (
    Values,
    accuracy_span,
    band,
    dense_layers,
    drawn_rows,
    figure_legend,
    legend_size,
    picked_rows,
    pointed_row,
    row_channels,
    row_opacity,
    row_styles,
)

_WIDTH, _HEIGHT = 420, 300
_LETTER, _LINE = 0.017, 0.06
"""Shares of the width and the height that a letter of a label needs."""
_LEFT = 0.3
"""The share of the width in which a label would leave the chart on the left."""
_STEPS = (1, 2, 5)


_SIDES: tuple[tuple[str, Literal["left", "right"], int], ...] = (("left", "left", -4), ("right", "right", -6))
"""The side of a point, the alignment of its label, and the pixels that it is shifted."""


_HAS_ROOM = (
    "length(datum.label) * 6.5 < "
    "(datum.side == 'left' ? width - scale('x', datum.cost) : scale('x', datum.cost))"
)
"""True for a label that stays within the chart, of letters of 6.5 pixels."""


_OUTLINE = {"stroke": "#ffffff", "strokeWidth": 4, "strokeJoin": "round"}
"""Keeps lines away from the letters of a label, which is drawn over it."""


def cost_values(board: Board) -> Values:
    """Return one value per row and compression whose cost is known and more than nothing."""
    return [
        {
            "row": row.label,
            "at": compression(point.compression),
            "cost": cost,
            "costs": amount(cost, partial=point_is_partial(point)),
            **band(point.accuracy),
        }
        for row in drawn_rows(board)
        for point in row.points
        if point.accuracy and (cost := point.means.get("cost"))
    ]


def cost_compressions(board: Board) -> list[str]:
    """Return the compressions at which accuracy can be drawn against cost, two rows or more."""
    found = [value["at"] for value in cost_values(board)]
    return [at for at in map(compression, board.compressions) if found.count(at) > 1]


def middle(compressions: Sequence[str]) -> str:
    """Return the compression that is drawn first: the one in the middle."""
    return compressions[len(compressions) // 2]


def cost_chart(board: Board, styles: Mapping[str, MarkStyle]) -> Any:
    """Return accuracy against cost for a page; its parameter `at` is the compression.

    The parameter `shown` lists the rows that are drawn; rows are highlighted as in other charts.
    """
    import altair as alt

    values, hover = cost_values(board), pointed_row()
    compressions = cost_compressions(board)
    at = alt.param(name="at", value=middle(compressions))
    spans = {each: accuracy_span(board, _at(values, each)) for each in compressions}
    ranges = alt.param(name="spans", value=spans)
    prices = alt.param(name="prices", value={each: _prices(_at(values, each)) for each in compressions})
    scale = alt.Scale(domain=[alt.ExprRef(f"spans[at][{end}]") for end in (0, 1)], nice=False, zero=False)
    domain = [alt.ExprRef(f"prices[at][{end}]") for end in (0, 1)]
    shown = alt.param(name="shown", value=list(dict.fromkeys(value["row"] for value in values)))
    best = {(step["row"], each): step for each in compressions for step in _frontier(_at(values, each))}
    labeled = [best.get((value["row"], value["at"]), value) for value in values]
    base = alt.Chart(alt.InlineData(values=labeled)).transform_filter(
        "datum.at == at && indexof(shown, datum.row) >= 0"
    )
    # The line leads over the rows that are shown; those that only it leads to have no label.
    order: list[Any] = [alt.SortField("cost"), alt.SortField("mean", order="descending")]
    running = base.transform_window(best="max(mean)", frame=[None, 0], sort=order)
    frontier = running.transform_window(before="lag(best)", sort=order).transform_filter(
        "!isValid(datum.before) || datum.mean > datum.before"
    )
    chart = _layers(board, values, base, frontier, styles, (domain, scale), None, hover)
    chart = chart.add_params(at, ranges, prices, shown, picked_rows())
    return titled(chart.properties(width="container", height=340), "")


def cost_figure(
    leaderboard: Leaderboard, boards: Sequence[Board] | None = None, at: float | None = None
) -> Any:
    """Return accuracy against cost for a paper: an altair chart with a legend.

    Args:
        leaderboard: The leaderboard, which decides the styles of rows.
        boards: The boards to draw side by side; by default all. Boards without costs are left out.
        at: The compression; by default the one in the middle of each board.

    Raises:
        UsageError: No board has two rows whose cost is known at one compression.
        UnknownNameError: No board has such rows at this compression.
    """
    import altair as alt

    chosen = leaderboard.boards if boards is None else boards
    found = {each: None for board in chosen for each in cost_compressions(board)}
    if not found:
        raise UsageError("a chart of costs needs two rows with a known cost at one compression")
    if at is not None and compression(float(at)) not in found:
        raise UnknownNameError("compression with costs", compression(float(at)), found)
    styles = row_styles(leaderboard.boards)
    panels, named, notes = [], [], list[str]()
    for board in chosen:
        compressions = cost_compressions(board)
        here = middle(compressions) if at is None and compressions else compression(float(at or 0))
        if here in compressions:
            panels.append(_panel(board, styles, here))
            named.append(f"{board.heading}, compression {here}")
            notes += cost_notes(board, here)
    lines = [
        "mean over seeds; cost in dense trainings, of all training and pruning; gray: the best for its cost",
        *dict.fromkeys(notes),
    ]
    if len(panels) == 1:
        return titled(panels[0], named[0], lines)
    titles = [panel.properties(title=name) for panel, name in zip(panels, named, strict=True)]
    return titled(alt.concat(*titles, columns=2), "Accuracy against cost", lines)


def _panel(board: Board, styles: Mapping[str, MarkStyle], at: str) -> Any:
    import altair as alt

    values = _at(cost_values(board), at)
    scale = alt.Scale(domain=accuracy_span(board, values), nice=False, zero=False)
    base = alt.Chart(alt.InlineData(values=values))
    frontier = alt.Chart(alt.InlineData(values=list(_frontier(values))))
    legend = figure_legend(len(values))
    chart = _layers(board, values, base, frontier, styles, (_prices(values), scale), legend, None)
    return chart.properties(width=_WIDTH, height=max(_HEIGHT, legend_size(len(values))))


def _at(values: Values, at: str) -> Values:
    return [value for value in values if value["at"] == at]


def _frontier(values: Values) -> Iterator[dict[str, Any]]:
    """Yield the values that no cheaper one equals, and which of them have room for a label."""
    best, rising = -math.inf, []
    for value in sorted(values, key=lambda value: (value["cost"], -value["mean"])):
        if value["mean"] > best:
            best = value["mean"]
            rising.append(value)
    width, first = _decades(values), math.log10(rising[0]["cost"]) if rising else 0.0
    heights = [value["mean"] for value in values]
    height = max(heights, default=1.0) - min(heights, default=0.0) + 1.0
    taken: list[tuple[float, float, float]] = []
    for value in reversed(rising):  # the best of all is named first
        place, level = (math.log10(value["cost"]) - first) / width, value["mean"] / height
        is_left, long = place < _LEFT, len(value["row"]) * _LETTER
        start = place if is_left else place - long
        free = all(start > end or start + long < begin or abs(level - at) > _LINE for begin, end, at in taken)
        if free:
            taken.append((start, start + long, level))
        yield {**value, "label": value["row"] if free else "", "side": "left" if is_left else "right"}


def _decades(values: Values) -> float:
    logs = [math.log10(value["cost"]) for value in values]
    return max(max(logs, default=1.0) - min(logs, default=0.0), 0.3)


def _ticks(values: Values) -> list[float]:
    logs = [math.log10(value["cost"]) for value in values] or [0.0]
    decades = range(math.floor(min(logs)), math.ceil(max(logs)) + 1)
    return [step * 10.0**decade for decade in decades for step in _STEPS]


def _prices(values: Values) -> list[float]:
    """Return the range of costs."""
    costs = [value["cost"] for value in values]
    return [min(costs), max(costs)]


def _log(domain: list[Any]) -> Any:
    import altair as alt

    return alt.Scale(type="log", nice=False, padding=28, domain=domain)


def _layers(
    board: Board,
    values: Values,
    base: Any,
    frontier: Any,
    styles: Mapping[str, MarkStyle],
    scales: tuple[list[Any], Any],
    legend: Any,
    hover: Any,
) -> Any:
    """Return the layers; `scales` are the range of costs and the scale of accuracies."""
    import altair as alt

    domain, scale = scales
    labels = list(dict.fromkeys(value["row"] for value in values))
    color, _, shape = row_channels(labels, styles, legend)
    x = alt.X("cost:Q", title="cost (dense trainings)", scale=_log(domain))
    x = x.axis(values=_ticks(values), format="~g", grid=False, labelOverlap="greedy")
    y = alt.Y("mean:Q", title="test top-1 (%)", scale=scale)
    near, bar = row_opacity(hover, 1.0, 0.9, 0.2), row_opacity(hover, 0.7, 0.0, 0.0)
    tips = [
        alt.Tooltip("row:N", title="pruner"),
        alt.Tooltip("text:N", title="test top-1 (%)"),
        alt.Tooltip("costs:N", title="cost"),
        alt.Tooltip("at:N", title="compression"),
    ]
    line = frontier.mark_line(interpolate="step-after", color=SOFT, strokeWidth=1.2, clip=True, opacity=0.7)
    # A page may be narrower than a figure.
    text = alt.Text("label:N") if hover is None else alt.condition(_HAS_ROOM, "label:N", alt.value(""))
    names = [
        frontier.transform_filter(f"datum.side == '{side}'")
        .mark_text(align=align, baseline="bottom", dx=shift, dy=-5, fontSize=11, color=INK, **outline)
        .encode(x, y, text=text)
        for side, align, shift in _SIDES
        for outline in (_OUTLINE, {})
    ]
    points = base.mark_point(filled=True, size=75, clip=True, aria=False).encode(
        x, y, color, shape, opacity=near
    )
    targets = base.mark_point(filled=True, size=350, opacity=0, clip=True).encode(x, y, tooltip=tips)
    bars = base.mark_rule(clip=True, strokeWidth=1.5).encode(
        x, alt.Y("low:Q", scale=scale), y2="high:Q", color=color, opacity=bar
    )
    return alt.layer(
        *dense_layers(board, scale),
        line.encode(x, y),
        *([] if hover is None else [bars]),
        *names,
        points,
        targets if hover is None else targets.add_params(hover),
    )


def cost_notes(board: Board, at: str = "") -> Iterator[str]:
    """Yield what the chart leaves out, at one compression or at all of them."""
    known = {(value["row"], value["at"]) for value in cost_values(board)}
    points = [
        (row.label, compression(point.compression))
        for row in drawn_rows(board)
        for point in row.points
        if point.accuracy and (not at or compression(point.compression) == at)
    ]
    if missing := sum(place not in known for place in points):
        yield f"not drawn: {count(missing, 'point')} without a cost, or where no weight can act"
