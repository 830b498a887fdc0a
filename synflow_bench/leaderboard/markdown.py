"""Boards as GitHub Markdown, and as a fragment of HTML for a notebook."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html import escape as escape_html

from tabulate import tabulate

from synflow_bench.leaderboard.board import Leaderboard
from synflow_bench.leaderboard.describe import marks
from synflow_bench.leaderboard.formatting import BEST, EQUIVALENT, UNDECIDED, TableCell
from synflow_bench.leaderboard.tables import Section, Table, legend, sections

_SIGNS = {"equivalent": f" {EQUIVALENT}", "undecided": f" {UNDECIDED}"}


def render(leaderboard: Leaderboard) -> str:
    """Return one section per board, then the ranks over all boards, and the definitions."""
    meanings = "\n".join(f"- {term}: {escape(meaning)}" for term, meaning in legend(leaderboard, "**bold**"))
    return render_sections("Leaderboard", sections(leaderboard), ["## Definitions", meanings])


def render_sections(title: str, shown: Iterable[Section], ending: Iterable[str] = ()) -> str:
    """Return sections below a title, and the paragraphs of `ending`."""
    parts = (part for section in shown for part in _section(section))
    return "\n\n".join([f"# {title}", *parts, *ending]) + "\n"


def escape(text: str) -> str:
    """Return `text` with all markup of Markdown and HTML escaped."""
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(sign, entity)
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", text)


def _section(section: Section) -> Iterator[str]:
    yield f"{'#' * (section.level + 1)} {escape(section.heading)}"
    yield from map(escape, section.facts)
    for table in section.tables:
        if table.title:
            yield f"{escape(table.title)}:"
        yield _table(table)
    if section.notes:
        yield "\n".join(f"- {escape(note)}" for note in section.notes)
    if section.source:
        yield escape(section.source)


def _table(table: Table) -> str:
    return tabulate(
        [[_cell(cell) for cell in row] for row in table.rows],
        headers=table.headings,
        tablefmt="github",
        colalign=table.alignments,
        disable_numparse=True,
    )


def _cell(cell: TableCell) -> str:
    text = escape(cell.text)
    return f"**{text}**" if cell.standing == "best" else f"{text}{_SIGNS.get(cell.standing or '', '')}"


def notebook_html(leaderboard: Leaderboard) -> str:
    """Return the accuracies of every board, the overall ranking and the notes as a fragment of HTML."""
    signs = {**_SIGNS, "best": f" {BEST}"}
    parts = []
    for section in sections(leaderboard):
        table = section.tables[0]
        rows = [[f"{cell.text}{signs.get(cell.standing or '', '')}" for cell in row] for row in table.rows]
        parts.append(f"<h3>{escape_html(section.heading)}</h3>")
        html = tabulate(rows, table.headings, "html", colalign=table.alignments, disable_numparse=True)
        parts.append(html)
        parts += [f"<p>{escape_html(note)}</p>" for note in section.notes]
    meaning = f"Test top-1 in percent; {marks(leaderboard)}."
    return "\n".join([*parts, f"<p>{meaning}</p>"])
