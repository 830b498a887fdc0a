"""Boards as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from synflow_bench.leaderboard._board import Board
from synflow_bench.leaderboard._grid import accuracy_lines, detail_table
from synflow_bench.leaderboard._text import compression
from synflow_bench.leaderboard._words import TIE, UNDECIDED, definitions, facts, footnotes


def render(boards: Sequence[Board]) -> str:
    """The page; every name is escaped, styles are inline, there is no script."""
    folder = FileSystemLoader(Path(__file__).parent)
    pages = Environment(
        loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    pages.filters |= {"compression": compression, "facts": facts, "footnotes": footnotes}
    pages.filters |= {"accuracy_lines": accuracy_lines, "detail_table": detail_table}
    signs = {"tie": TIE, "undecided": UNDECIDED}
    return (
        pages.get_template("page.html.j2").render(boards=boards, signs=signs, definitions=definitions("bold"))
        + "\n"
    )
