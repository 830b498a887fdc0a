"""Accuracy against compression, described once: pages draw it, and figures for papers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from synflow_bench.charts import SOFT, titled
from synflow_bench.leaderboard._board import Board
from synflow_bench.leaderboard.site._chart_values import accuracy_values, dense_values, span, ticks
from synflow_bench.leaderboard.site._looks import Look

_REACH = 350
"""Square pixels around a point in which the pointer finds it."""
_INK_OF_BANDS = 0.7
"""Opacity that all bands share: of many, each is faint until its row is pointed at."""


def accuracy_chart(board: Board, drawn: Mapping[str, Look]) -> Any:
    """The board for a page: the parameter `axis` says what it is drawn against, `shown` which rows are.

    The row under the pointer stands out.
    """
    import altair as alt

    values = accuracy_values(board)
    base = (
        alt.Chart(alt.InlineData(values=values))
        .transform_calculate(x="datum[axis]")
        .transform_filter("isValid(datum.x) && indexof(shown, datum.row) >= 0")
    )
    shown = alt.param(name="shown", value=list(dict.fromkeys(value["row"] for value in values)))
    axis = alt.param(name="axis", value="compression")
    hover = alt.selection_point(name="hover", fields=["row"], on="pointerover", clear="pointerout")
    chart = accuracy_layers(board, base, drawn, None, None, hover).add_params(shown, axis)
    return titled(chart.properties(width="container", height=340), "")


def accuracy_layers(
    board: Board,
    base: Any,
    drawn: Mapping[str, Look],
    title: str | None,
    legend: Any,
    hover: Any = None,
) -> Any:
    """The curves, bands and points of `base`, whose values have `x`; `title` is that of the axis."""
    import altair as alt

    values = accuracy_values(board)
    labels = list(dict.fromkeys(value["row"] for value in values))
    x = alt.X("x:Q", title=title, scale=alt.Scale(type="log", nice=False, padding=12))
    x = x.axis(values=ticks(values), format="~g", grid=False, labelOverlap="greedy")
    y_scale = alt.Scale(domain=list(span([*values, *dense_values(board)])), nice=False, zero=False)
    y = alt.Y("mean:Q", title="test top-1 (%)", scale=y_scale)
    colour, dash, shape = _by_row(labels, drawn, legend)
    faint = min(0.14, _INK_OF_BANDS / max(1, len(labels)))
    near, wide = _when(hover, 1.0, 1.0, 0.2), _when(hover, 0.3, faint, faint)
    low = alt.Y("low:Q", scale=y_scale)
    return alt.layer(
        *_dense(board, y_scale),
        base.mark_area(clip=True).encode(x, y=low, y2="high:Q", color=colour, fillOpacity=wide),
        base.mark_line(clip=True).encode(x, y, colour, dash, opacity=near),
        base.mark_point(filled=True, size=50, clip=True, aria=False).encode(
            x, y, colour, shape, opacity=near
        ),
        _targets(base.encode(x, y, tooltip=_tooltip()), hover),
    )


def _by_row(labels: Sequence[str], drawn: Mapping[str, Look], legend: Any) -> tuple[Any, Any, Any]:
    """The channels that tell rows apart; the legends of colour and shape become one.

    Dashes have a domain of their own: in one legend with the rest they would tear the outlines of symbols.
    """
    import altair as alt

    own = [drawn[label] for label in labels]
    colours = alt.Scale(domain=labels, range=[look.colour for look in own])
    dashes = alt.Scale(domain=[*labels, ""], range=[*(list(look.dash) for look in own), [1, 0]])
    shapes = alt.Scale(domain=labels, range=[look.shape for look in own])
    return (
        alt.Color("row:N", legend=legend, scale=colours),
        alt.StrokeDash("row:N", legend=None, scale=dashes),
        alt.Shape("row:N", legend=legend, scale=shapes),
    )


def _targets(base: Any, hover: Any) -> Any:
    """What a pointer or a finger meets: the points, but larger."""
    targets = base.mark_point(filled=True, size=_REACH, opacity=0, clip=True)
    return targets if hover is None else targets.add_params(hover)


def _when(hover: Any, near: float, still: float, far: float) -> Any:
    """An opacity: `near` where the pointer is and `far` elsewhere, `still` where there is no pointer."""
    import altair as alt

    if hover is None:
        return alt.value(still)
    return alt.when(hover, empty=near == still).then(alt.value(near)).otherwise(alt.value(far))


def _tooltip() -> Sequence[Any]:
    import altair as alt

    return [
        alt.Tooltip("row:N", title="pruner"),
        alt.Tooltip("text:N", title="test top-1 (%)"),
        alt.Tooltip("n:Q", title="seeds"),
        alt.Tooltip("compression:Q", format="~g"),
        alt.Tooltip("effective:Q", format=".4~g", title="effective"),
    ]


def _dense(board: Board, scale: Any) -> list[Any]:
    """The unpruned network: a dashed level, in the band of its interval."""
    import altair as alt

    values = dense_values(board)
    if not values:
        return []
    base = alt.Chart(alt.InlineData(values=values))
    y = alt.Y("mean:Q", scale=scale)
    return [
        base.mark_rect(color=SOFT, opacity=0.08, clip=True).encode(
            y=alt.Y("low:Q", scale=scale), y2="high:Q"
        ),
        base.mark_rule(color=SOFT, strokeDash=[4, 3], clip=True).encode(
            y=y, tooltip=alt.Tooltip("text:N", title="dense")
        ),
    ]
