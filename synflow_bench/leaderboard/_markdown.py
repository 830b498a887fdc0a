"""Boards as GitHub Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tabulate import tabulate

from synflow_bench.leaderboard._board import Board
from synflow_bench.leaderboard._grid import Line, Mark, accuracy_lines, detail_table
from synflow_bench.leaderboard._text import compression
from synflow_bench.leaderboard._words import TIE, UNDECIDED, definitions, facts, footnotes


def render(boards: Sequence[Board]) -> str:
    """Per board a heading, the facts, both tables and what is missing; then the definitions."""
    meanings = (f"- {term}: {escape(meaning)}" for term, meaning in definitions("**bold**"))
    return "\n\n".join(["# Leaderboard", *map(_board, boards), "## Definitions", "\n".join(meanings)]) + "\n"


def escape(text: str) -> str:
    """`text` with everything that Markdown or HTML would read as markup taken literally."""
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(sign, entity)
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", text)


def _board(board: Board) -> str:
    title = "Final-epoch test top-1 in percent, by compression:"
    parts = [
        f"## {escape(board.heading)}",
        *map(escape, facts(board)),
        title,
        _accuracy(board),
        _details(board),
    ]
    notes = "\n".join(f"- {escape(note)}" for note in footnotes(board))
    return "\n\n".join(filter(None, [*parts, notes]))


def _accuracy(board: Board) -> str:
    headers = ["pruner", *map(compression, board.compressions), "area", "intact to"]
    return _table(headers, map(_cells, accuracy_lines(board)), left={0})


def _cells(line: Line) -> list[str]:
    return [escape(line.label), *map(_mark, line.marks), _mark(line.area), line.intact_to]


def _mark(mark: Mark) -> str:
    match mark.standing:
        case "best":
            return f"**{mark.text}**"
        case "tie":
            return f"{mark.text} {TIE}"
        case "undecided":
            return f"{mark.text} {UNDECIDED}"
        case _:
            return mark.text


def _details(board: Board) -> str:
    headers, rows = detail_table(board)
    left = {index for index, header in enumerate(headers) if header in {"pruner", "collapsed", "notes"}}
    return _table(headers, ([escape(text) for text in row] for row in rows), left)


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]], left: set[int]) -> str:
    align = ["left" if index in left else "right" for index in range(len(headers))]
    return tabulate(list(rows), headers=headers, tablefmt="github", colalign=align, disable_numparse=True)
