"""Boards as GitHub Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from tabulate import tabulate

from synflow_bench.leaderboard._board import Board, Leaderboard
from synflow_bench.leaderboard._details import TEXT, detail_table
from synflow_bench.leaderboard._grid import Line, Mark, accuracy_lines, summary_headers
from synflow_bench.leaderboard._sheets import Sheet, overall_sheet, published_sheet
from synflow_bench.leaderboard._text import compression
from synflow_bench.leaderboard._words import TIE, UNDECIDED, definitions, facts, footnotes, source


def render(page: Leaderboard) -> str:
    """Per board a heading, the facts, tables and what is missing; then ranks over all, and definitions."""
    meanings = (f"- {term}: {escape(meaning)}" for term, meaning in definitions("**bold**", page))
    boards = (part for board in page.boards for part in _with_published(board, page))
    overall = [_sheet(overall_sheet(page.overall), "##")] if page.overall else []
    alone = (_sheet(published_sheet(table), "##") for table in page.published_alone)
    parts = ["# Leaderboard", *boards, *overall, *alone, "## Definitions", "\n".join(meanings)]
    return "\n\n".join(parts) + "\n"


def _with_published(board: Board, page: Leaderboard) -> Iterator[str]:
    yield _board(board)
    yield from (_sheet(published_sheet(table), "###") for table in page.published_for(board))


def _sheet(sheet: Sheet, level: str) -> str:
    table = _table(sheet.headers, ([escape(text) for text in row] for row in sheet.rows), left={0})
    notes = "\n".join(f"- {escape(note)}" for note in sheet.notes)
    return "\n\n".join(filter(None, (f"{level} {escape(sheet.title)}", table, notes)))


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
    return "\n\n".join(filter(None, [*parts, notes, escape(source(board))]))


def _accuracy(board: Board) -> str:
    headers = ["pruner", *map(compression, board.compressions), *summary_headers(board)]
    return _table(headers, map(_cells, accuracy_lines(board)), left={0})


def _cells(line: Line) -> list[str]:
    return [escape(line.label), *map(_mark, (*line.marks, *line.summary))]


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
    left = {index for index, header in enumerate(headers) if header in TEXT}
    return _table(headers, ([escape(text) for text in row] for row in rows), left)


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]], left: set[int]) -> str:
    align = ["left" if index in left else "right" for index in range(len(headers))]
    return tabulate(list(rows), headers=headers, tablefmt="github", colalign=align, disable_numparse=True)
