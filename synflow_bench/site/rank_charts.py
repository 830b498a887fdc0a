"""Charts of ranks and of whole distributions: rank ranges, critical differences, performance profiles.

Demsar 2006, Statistical comparisons of classifiers over multiple data sets, JMLR 7; Agarwal et al. 2021, Deep
reinforcement learning at the edge of the statistical precipice, arXiv 2108.13264.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from synflow_bench.charts import INK, MarkStyle, titled
from synflow_bench.errors import UsageError, count
from synflow_bench.leaderboard import Board, Leaderboard
from synflow_bench.leaderboard.board import OverallRanking, OverallRow, RankTest
from synflow_bench.leaderboard.over_settings import THRESHOLDS, overall_ranking_lacks
from synflow_bench.site.charts import (
    Values,
    picked_rows,
    pointed_row,
    row_channels,
    row_opacity,
    row_styles,
)

_WIDTH, _HEIGHT, _STEP = 520, 300, 17
"""Pixels of a figure for a paper, and of one row of a chart that has one line per row."""
_ABOVE = 4
"""Levels above the axis: for its labels, and for the bar as long as the critical difference."""
_LABEL = "windowSize()[0] < 600 ? 84 : 180"
"""Pixels from which on a label beside a diagram is cut, less on a phone."""


def range_values(board: Board) -> Values:
    """Return the rank of each ranked row of a board with the ranks that the data allow."""
    return [
        {
            "row": row.label,
            "rank": row.rank,
            "low": row.rank_range.low,
            "high": row.rank_range.high,
            "text": f"{row.rank_range.low} to {row.rank_range.high}",
        }
        for row in board.rows
        if row.rank is not None and row.rank_range is not None
    ]


def mean_rank_values(overall: OverallRanking) -> Values:
    """Return the mean rank of each row over settings with its bootstrap interval."""
    return [
        {
            "row": row.label,
            "rank": row.mean,
            "low": row.low,
            "high": row.high,
            "text": f"{row.low:.2f} to {row.high:.2f}",
        }
        for row in overall.ranks
    ]


def rank_chart(values: Values, styles: Mapping[str, MarkStyle], title: str, width: int | str) -> Any:
    """Return one line per row: a point at its rank, and a bar over its range.

    Args:
        values: The result of `range_values` or `mean_rank_values`.
        styles: The style of each row.
        title: The title of the axis.
        width: The width in pixels, or "container" for a page.
    """
    import altair as alt

    labels = [value["row"] for value in values]
    hover = pointed_row() if width == "container" else None
    base = alt.Chart(alt.InlineData(values=values))
    y = alt.Y("row:N", sort=labels, title=None, axis=alt.Axis(labelLimit=190, domain=False, ticks=False))
    last = max(len(values), *(value["high"] for value in values))
    scale = alt.Scale(domain=[1, last], nice=False, padding=10)
    x = alt.X("rank:Q", title=title, scale=scale, axis=alt.Axis(tickMinStep=1, format="d", orient="top"))
    color, *_ = row_channels(labels, styles, None)
    tips = [
        alt.Tooltip("row:N", title="pruner"),
        alt.Tooltip("rank:Q", format=".4~g"),
        alt.Tooltip("text:N", title="range"),
    ]
    bars = base.mark_rule(strokeWidth=7, strokeCap="round").encode(
        alt.X("low:Q", scale=scale), y, color, x2="high:Q", opacity=row_opacity(hover, 0.6, 0.3, 0.1)
    )
    points = base.mark_point(filled=True, size=55, aria=False).encode(
        x, y, color, opacity=row_opacity(hover, 1.0, 1.0, 0.25)
    )
    targets = base.mark_bar(height=_STEP, opacity=0).encode(
        alt.X("low:Q", scale=scale), y, x2="high:Q", tooltip=tips
    )
    if hover is not None:
        targets = targets.add_params(hover)
    chart = alt.layer(bars, points, targets)
    return _sized(chart, width, _STEP * len(values))


def difference_chart(
    ranks: Sequence[OverallRow], test: RankTest, styles: Mapping[str, MarkStyle], width: int | str
) -> Any:
    """Return the diagram of critical differences: mean ranks, and a bar over rows that are not separated."""
    import altair as alt

    hover = pointed_row() if width == "container" else None
    first_label = len(test.groups) + 1.6
    rows = list(_placed(ranks, first_label))
    bars = _bars(ranks, test)
    most = float(len(ranks))
    height = max(row["level"] for row in rows) + 0.6
    scale = alt.Scale(domain=[1, most], nice=False, zero=False)
    y_scale = alt.Scale(domain=[-_ABOVE, height], reverse=True, nice=False, zero=False)
    axis = alt.Axis(orient="top", offset=-_ABOVE * _STEP, tickMinStep=1, format="d", grid=False)
    x = alt.X("rank:Q", scale=scale, title=None, axis=axis)
    y = alt.Y("level:Q", scale=y_scale, axis=None)
    color, _, _ = row_channels([row["row"] for row in rows], styles, None)
    opacity = row_opacity(hover, 1.0, 1.0, 0.2)
    base = alt.Chart(alt.InlineData(values=rows))
    tips = [alt.Tooltip("row:N", title="pruner"), alt.Tooltip("rank:Q", title="mean rank", format=".2f")]
    stems = base.mark_rule(strokeWidth=1.4).encode(
        x, alt.Y("zero:Q", scale=y_scale, axis=None), color, y2="level:Q", opacity=opacity
    )
    layers = [stems]
    sides: tuple[tuple[str, str | int, Literal["left", "right"], int], ...] = (
        ("left", 0, "right", -5),
        ("right", "width", "left", 5),
    )
    for side, edge, align, shift in sides:
        own = base.transform_filter(f"datum.side == '{side}'")
        arm = own.mark_rule(strokeWidth=1.4).encode(x, y, color, x2=alt.value(edge), opacity=opacity)
        name = own.mark_text(align=align, dx=shift, fontSize=11, limit=alt.ExprRef(_LABEL), color=INK)
        name = name.encode(x=alt.value(edge), y=y, text="row:N", tooltip=tips, opacity=opacity)
        layers += [arm, name]
    layers[-1] = layers[-1] if hover is None else layers[-1].add_params(hover)
    thick = alt.Chart(alt.InlineData(values=bars)).mark_rule(strokeWidth=4, color=INK, strokeCap="round")
    layers.append(thick.encode(alt.X("low:Q", scale=scale), y, x2="high:Q", tooltip=alt.Tooltip("text:N")))
    layers += _scale_bar(test.critical_difference, most, scale, y_scale)
    return _sized(alt.layer(*layers), width, round(_STEP * (height + _ABOVE)))


def _scale_bar(difference: float, most: float, scale: Any, y_scale: Any) -> Iterator[Any]:
    """Yield the layers of the bar that is as long as the critical difference, and its text."""
    import altair as alt

    # A difference longer than the axis separates no two rows.
    end, text = min(most, 1 + difference), f"critical difference {difference:.2f}"
    values = [{"low": 1, "high": end, "level": 0.6 - _ABOVE, "text": text}]
    base = alt.Chart(alt.InlineData(values=values))
    x, y = alt.X("low:Q", scale=scale), alt.Y("level:Q", scale=y_scale, axis=None)
    yield base.mark_rule(strokeWidth=2, color=INK).encode(x, y, x2="high:Q")
    yield base.mark_text(align="left", dy=11, fontSize=11, color=INK).encode(x, y, text="text:N")


def _placed(ranks: Sequence[OverallRow], first: float) -> Iterator[dict[str, Any]]:
    """Yield the rows with their sides and levels: lines to the sides never cross."""
    half = math.ceil(len(ranks) / 2)
    for place, row in enumerate(ranks):
        is_left = place < half
        level = first + (place if is_left else len(ranks) - 1 - place)
        yield {
            "row": row.label,
            "rank": row.mean,
            "side": "left" if is_left else "right",
            "level": level,
            "zero": 0,
        }


def _bars(ranks: Sequence[OverallRow], test: RankTest) -> Values:
    means = {row.label: row.mean for row in ranks}
    return [
        {
            "low": means[group[0]],
            "high": means[group[-1]],
            "level": number,
            "text": f"not separated: {', '.join(group)}",
        }
        for number, group in enumerate(test.groups, start=1)
    ]


def profile_chart(
    ranks: Sequence[OverallRow], styles: Mapping[str, MarkStyle], width: int | str, legend: Any = None
) -> Any:
    """Return performance profiles: the share of a row's runs whose AUC is above each value."""
    import altair as alt

    hover = pointed_row() if width == "container" else None
    labels = [row.label for row in ranks]
    base = alt.Chart(alt.InlineData(values=list(_profile_values(ranks))))
    if hover is not None:
        base = base.transform_filter("indexof(shown, datum.row) >= 0")
    scale = alt.Scale(domain=_profile_span(ranks), nice=False, zero=False)
    x = alt.X("auc:Q", title="AUC (%)", scale=scale, axis=alt.Axis(grid=False))
    y = alt.Y("share:Q", title="runs above it (%)", scale=alt.Scale(domain=[0, 100]))
    color, *_ = row_channels(labels, styles, legend)
    dashes = alt.Scale(domain=labels, range=[list(styles[label].dash) for label in labels])
    dash = alt.StrokeDash("row:N", legend=legend, scale=dashes)
    line = base.mark_line(clip=True).encode(x, y, color, dash, opacity=row_opacity(hover, 1.0, 1.0, 0.15))
    targets = base.mark_line(clip=True, strokeWidth=12, opacity=0).encode(
        x, y, detail="row:N", tooltip=alt.Tooltip("row:N", title="pruner")
    )
    if hover is None:
        return _sized(alt.layer(line, targets), width, _HEIGHT)
    shown = alt.param(name="shown", value=labels)
    return _sized(alt.layer(line, targets.add_params(hover)).add_params(shown), width, _HEIGHT)


def _profile_values(ranks: Iterable[OverallRow]) -> Iterator[dict[str, Any]]:
    """Yield the points of each profile, without those between two of equal height."""
    for row in ranks:
        for place, share in enumerate(row.profile):
            around = row.profile[max(0, place - 1) : place + 2]
            if len(around) < 3 or set(around) != {share}:
                yield {"row": row.label, "auc": round(100 * THRESHOLDS[place], 1), "share": 100 * share}


def _profile_span(ranks: Sequence[OverallRow]) -> list[float]:
    """Return the AUCs between which some profile falls, in percent."""
    places = range(len(THRESHOLDS))
    falling = [place for place in places if any(0 < row.profile[place] < 1 for row in ranks)]
    low = min(falling, default=0) - 2
    high = max(falling, default=len(THRESHOLDS) - 1) + 2
    return [float(max(0, low)), float(min(100, high))]


def _sized(chart: Any, width: int | str, height: int) -> Any:
    """Return the chart with its size; on a page it has the parameter of picked rows."""
    if width != "container":
        return chart.properties(width=width, height=height)
    return titled(chart.properties(width=width, height=height).add_params(picked_rows()), "")


def rank_figure(leaderboard: Leaderboard, board: Board) -> Any:
    """Return the ranks of one board with their ranges for a paper, as an altair chart.

    Raises:
        UsageError: The board has no ranks.
    """
    values = range_values(board)
    if not values:
        raise UsageError(f"{board.heading!r} is preliminary and has no ranks to draw; run more seeds first")
    lines = ["rank by AUC, and the ranks that the data allow, for all rows together"]
    chart = rank_chart(values, row_styles(leaderboard.boards), "rank", _WIDTH)
    return titled(chart, board.heading, [*lines, f"{count(len(board.seeds), 'seed')}; setting {board.id}"])


def difference_figure(leaderboard: Leaderboard) -> Any:
    """Return the diagram of critical differences of mean ranks over settings for a paper.

    Raises:
        UsageError: There are too few settings for a test.
    """
    overall = _overall(leaderboard)
    if overall.test is None:
        raise UsageError(f"no diagram of critical differences: {overall.untested}; run more settings first")
    chart = difference_chart(overall.ranks, overall.test, row_styles(leaderboard.boards), _WIDTH)
    lines = [
        f"mean rank over {count(len(overall.settings), 'setting')}; bars join rows that are not separated"
    ]
    return titled(chart, "Critical differences (Nemenyi, 5 %)", lines)


def profile_figure(leaderboard: Leaderboard) -> Any:
    """Return the performance profiles over settings for a paper.

    Raises:
        UsageError: There are too few settings.
    """
    import altair as alt

    overall = _overall(leaderboard)
    legend = alt.Legend(title=None, orient="right", symbolOpacity=1, symbolType="stroke")
    chart = profile_chart(overall.ranks, row_styles(leaderboard.boards), _WIDTH, legend)
    lines = [f"share of the runs in {count(len(overall.settings), 'setting')} whose AUC is above each value"]
    return titled(chart, "Performance profiles", lines)


def _overall(leaderboard: Leaderboard) -> OverallRanking:
    if leaderboard.overall is None:
        lacking = overall_ranking_lacks(leaderboard.boards)
        raise UsageError(f"nothing to draw over settings: that requires {lacking}")
    return leaderboard.overall
