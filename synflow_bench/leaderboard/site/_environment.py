"""Templates with everything that they may say of a board; all text is escaped, JSON in scripts too."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from synflow_bench.charts import script_json
from synflow_bench.leaderboard._board import Board
from synflow_bench.leaderboard._details import TEXT, detail_table
from synflow_bench.leaderboard._grid import accuracy_lines, summary_headers
from synflow_bench.leaderboard._ranks import overall_lacks
from synflow_bench.leaderboard._sheets import overall_sheet, published_sheet
from synflow_bench.leaderboard._text import compression
from synflow_bench.leaderboard._words import TIE, UNDECIDED, facts, footnotes, source
from synflow_bench.leaderboard.site._chart_values import has_effective
from synflow_bench.leaderboard.site._charts import accuracy_chart
from synflow_bench.leaderboard.site._looks import charted, looks
from synflow_bench.leaderboard.site._records import density_cell, share, short
from synflow_bench.leaderboard.site._terms import anchors, meanings
from synflow_bench.records import printable, printable_lines

_TEMPLATES = Path(__file__).parent / "templates"
_OUTLINES = {
    "circle": "M0,-4.5A4.5,4.5 0 1 1 0,4.5A4.5,4.5 0 1 1 0,-4.5Z",
    "square": "M-4,-4H4V4H-4Z",
    "triangle-up": "M0,-5L5,4H-5Z",
    "triangle-down": "M0,5L5,-4H-5Z",
    "triangle-right": "M5,0L-4,5V-5Z",
    "diamond": "M0,-5.5L5,0L0,5.5L-5,0Z",
    "cross": "M-1.7,-5H1.7V-1.7H5V1.7H1.7V5H-1.7V1.7H-5V-1.7H-1.7Z",
    "stroke": "M-5,-1.5H5V1.5H-5Z",
}
"""Shape -> the SVG path of its mark in a legend."""


def environment(boards: Iterable[Board]) -> Environment:
    """An environment for the pages of `boards`; an unknown name in a template is an error."""
    pages = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    drawn = looks(boards)
    pages.globals |= {"signs": {"tie": TIE, "undecided": UNDECIDED}, "words": TEXT, "outlines": _OUTLINES}
    pages.globals |= {"anchors": anchors(), "meanings": meanings(), "looks": drawn}
    pages.filters |= {"facts": facts, "footnotes": footnotes, "source": source, "detail_table": detail_table}
    pages.filters |= {"accuracy_lines": accuracy_lines, "summary_headers": summary_headers}
    pages.filters |= {"overall_sheet": overall_sheet, "published_sheet": published_sheet}
    pages.filters |= {"compression": compression, "density": density_cell, "share": share, "short": short}
    pages.filters |= {"charted": charted, "has_effective": has_effective, "row_path": row_path}
    pages.filters |= {"overall_lacks": overall_lacks}
    pages.filters |= {"line": printable, "lines": printable_lines, "json": _escaped_json}
    # A board is drawn on two pages, and altair takes its time.
    specification = cache(lambda number: accuracy_chart(by_number[number], drawn).to_dict())
    by_number = {id(board): board for board in boards}
    pages.filters["accuracy_spec"] = lambda board: specification(id(board))
    return pages


def row_path(board: Board, label: str) -> str:
    """The page of the row with this label, from the root of the site."""
    labels = [row.label for row in (*board.rows, *board.ablated)]
    return f"rows/{board.id}-{labels.index(label)}.html"


def _escaped_json(value: Any) -> Markup:
    return Markup(script_json(value))  # noqa: S704  every sign that HTML reads is escaped
