"""Accuracy against compression as a figure for a paper."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from synflow_bench.charts import titled
from synflow_bench.errors import UsageError
from synflow_bench.leaderboard._board import Board, Leaderboard
from synflow_bench.leaderboard._text import count
from synflow_bench.leaderboard.site._chart_values import Values, accuracy_values, dense_values
from synflow_bench.leaderboard.site._charts import accuracy_layers
from synflow_bench.leaderboard.site._looks import Look, looks

AXES = {"compression": "compression", "effective": "effective compression"}
"""What accuracy may be drawn against, and how the axis is called."""
_WIDTH, _HEIGHT = 380, 260
_COLUMNS = 2


def accuracy_figure(page: Leaderboard, axis: str = "compression") -> Any:
    """The boards side by side, still, with a legend: an altair chart for a paper.

    Boards without anything to draw are left out; raises `UsageError` where all are.
    """
    import altair as alt

    boards = [board for board in page.boards if _values(board, axis)]
    if not boards:
        raise UsageError(_nothing_to_draw(axis))
    drawn = looks(page.boards)
    panels = [_panel(board, drawn, axis) for board in boards]
    if len(panels) == 1:
        return titled(panels[0], boards[0].heading, [_of_one(boards[0]), *_lines(boards, axis)])
    named = [panel.properties(title=board.heading) for panel, board in zip(panels, boards, strict=True)]
    lines = ["mean and 95 % t-interval", *_lines(boards, axis)]
    return titled(alt.concat(*named, columns=_COLUMNS), "Accuracy against " + AXES[axis], lines)


def _nothing_to_draw(axis: str) -> str:
    if axis == "effective":
        return "no finished cell of a pruner has an effective compression to draw; leave out --axis"
    return "no cell of a pruner has finished, so there is nothing to draw; run some, or choose other records"


def _values(board: Board, axis: str) -> Values:
    return [value | {"x": value[axis]} for value in accuracy_values(board) if value[axis] is not None]


def _of_one(board: Board) -> str:
    return f"{count(len(board.seeds), 'seed')}, mean and 95 % t-interval; setting {board.id}"


def _lines(boards: Sequence[Board], axis: str) -> Iterator[str]:
    """What a reader cannot know from the drawing."""
    if any(map(dense_values, boards)):
        yield "dashed grey: dense network"
    missing = sum(len(accuracy_values(board)) - len(_values(board, axis)) for board in boards)
    if missing:
        points = count(missing, "point")
        yield f"not drawn: {points} without effective compression (collapsed, or not followed)"


def _panel(board: Board, drawn: Mapping[str, Look], axis: str) -> Any:
    import altair as alt

    base = alt.Chart(alt.InlineData(values=_values(board, axis)))
    legend = alt.Legend(title=None, orient="right", symbolOpacity=1)
    return accuracy_layers(board, base, drawn, AXES[axis], legend).properties(width=_WIDTH, height=_HEIGHT)
