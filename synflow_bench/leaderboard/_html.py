"""Boards as one HTML page that needs nothing else."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from synflow_bench.leaderboard._board import Leaderboard
from synflow_bench.leaderboard._details import TEXT, detail_table
from synflow_bench.leaderboard._grid import accuracy_lines, summary_headers
from synflow_bench.leaderboard._sheets import overall_sheet, published_sheet
from synflow_bench.leaderboard._text import compression
from synflow_bench.leaderboard._words import TIE, UNDECIDED, definitions, facts, footnotes, source


def render(page: Leaderboard) -> str:
    """The page; every name is escaped, styles are inline, there is no script."""
    folder = FileSystemLoader(Path(__file__).parent)
    pages = Environment(
        loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    pages.filters |= {"compression": compression, "facts": facts, "footnotes": footnotes}
    pages.filters |= {"accuracy_lines": accuracy_lines, "detail_table": detail_table, "source": source}
    pages.filters |= {"summary_headers": summary_headers}
    pages.filters |= {"overall_sheet": overall_sheet, "published_sheet": published_sheet}
    signs = {"tie": TIE, "undecided": UNDECIDED}
    meanings = definitions("bold", page)
    text = pages.get_template("page.html.j2").render(
        page=page, boards=page.boards, signs=signs, words=TEXT, definitions=meanings
    )
    return text + "\n"
