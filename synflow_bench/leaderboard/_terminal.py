"""Boards for a terminal, as wide as it is."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.style import Style
from rich.table import Table
from rich.text import Text

from synflow_bench.leaderboard._board import Board, Leaderboard, Standing
from synflow_bench.leaderboard._details import TEXT, detail_table
from synflow_bench.leaderboard._grid import Line, Mark, accuracy_lines, summary_headers
from synflow_bench.leaderboard._plain import column_groups, plain_table, width_of
from synflow_bench.leaderboard._sheets import Sheet, overall_sheet, published_sheet
from synflow_bench.leaderboard._text import compression
from synflow_bench.leaderboard._words import BEST, TIE, UNDECIDED, definitions, facts, footnotes, source

_SHORT = {"rank": "#", "area to best": "Δ best", "area to baseline": "Δ baseline"}
"""Headers for which a terminal of 80 columns has no room."""
FILE_WIDTH = 120
"""Columns of a table that goes to a file."""

_SIGNS: dict[Standing | None, str] = {
    "best": BEST,
    "tie": TIE,
    "undecided": UNDECIDED,
    "worse": " ",
    None: " ",
}


def render(page: Leaderboard) -> str:
    """The boards as plain text, as they would look in a terminal of `FILE_WIDTH` columns."""
    sink = io.StringIO()
    print_boards(page, Console(file=sink, width=FILE_WIDTH, color_system=None, force_terminal=False))
    return "\n".join(line.rstrip() for line in sink.getvalue().splitlines()) + "\n"


def print_boards(page: Leaderboard, console: Console, *, details: bool = True) -> None:
    """Print every board, with its details table unless `details` is false, and the legend once."""
    for board in page.boards:
        _print_board(board, console, details)
        for table in page.published_for(board):
            _print_sheet(published_sheet(table), console)
    if page.overall:
        _print_sheet(overall_sheet(page.overall), console)
    for table in page.published_alone:
        _print_sheet(published_sheet(table), console)
    console.print(_legend(page))


def _print_sheet(sheet: Sheet, console: Console) -> None:
    table = _table(None)
    for index, header in enumerate(sheet.headers):
        table.add_column(f"{header} ", justify="right" if index else "left", overflow="fold")
    for row in sheet.rows:
        table.add_row(*(Text(f"{text} ") for text in row))
    console.print(Text(sheet.title, style="bold"))
    console.print(table)
    for note in sheet.notes:
        console.print(Text(note, style="dim"))
    console.print()


def _print_board(board: Board, console: Console, details: bool) -> None:
    console.print(Text(board.heading, style="bold"))
    for fact in facts(board):
        console.print(Text(fact, style="yellow" if fact.startswith("smoke") else "dim"))
    for table in _accuracy_tables(board, console):
        console.print()
        console.print(table)
    console.print()
    if details:
        _print_details(board, console)
        console.print()
    for note in footnotes(board):
        console.print(Text(note, style="yellow"))
    if details:
        console.print(Text(source(board), style="dim"))
    if footnotes(board) or details:
        console.print()


def _legend(page: Leaderboard) -> Table:
    table = Table.grid(padding=(0, 2))
    for term, meaning in definitions(BEST, page):
        short = _SHORT.get(term)
        table.add_row(
            Text(short or term, style="bold"), Text(f"{term}: {meaning}" if short else meaning, "dim")
        )
    return table


def _accuracy_tables(board: Board, console: Console) -> Iterator[Table]:
    """One table where it fits, else with the intervals below the means, else in parts."""
    columns = range(len(board.compressions))
    for stacked in (False, True):
        table = _accuracy_table(board, columns, stacked=stacked, summary=True)
        if _fits(table, console):
            yield table
            return
    yield from _parts(board, console)


def _parts(board: Board, console: Console) -> Iterator[Table]:
    start, end = 0, len(board.compressions)
    while start < end:
        stop = end
        while stop - start > 1 and not _fits(_part(board, start, stop), console):
            stop -= 1
        yield _part(board, start, stop)
        start = stop


def _part(board: Board, start: int, stop: int) -> Table:
    last = stop == len(board.compressions)
    return _accuracy_table(board, range(start, stop), stacked=True, summary=last)


def _fits(table: Table, console: Console) -> bool:
    unbounded = console.options.update(max_width=10_000)
    return Measurement.get(console, unbounded, table).maximum <= console.width


def _accuracy_table(board: Board, columns: Iterable[int], *, stacked: bool, summary: bool) -> Table:
    shown = list(columns)
    table = _table("final-epoch test top-1 in percent, by compression")
    table.add_column("pruner ", overflow="fold")
    for index in shown:
        table.add_column(f"{compression(board.compressions[index])} ", justify="right", no_wrap=True)
    for header in summary_headers(board) if summary else ():
        table.add_column(f"{_SHORT.get(header, header)} ", justify="right", no_wrap=True)
    for line in accuracy_lines(board):
        table.add_row(*_cells(line, shown, stacked=stacked, summary=summary))
    return table


def _table(title: str | None) -> Table:
    style = Style.null()
    return Table(
        title=title, title_justify="left", title_style=style, box=box.SIMPLE_HEAD, show_edge=False, padding=0
    )


def _cells(line: Line, columns: Iterable[int], *, stacked: bool, summary: bool) -> list[Text]:
    marks = [_mark(line.marks[index], stacked) for index in columns]
    extra = [_mark(mark, stacked) for mark in line.summary] if summary else []
    return [Text(f"{line.label} "), *marks, *extra]


def _mark(mark: Mark, stacked: bool) -> Text:
    parts = [part for part in (mark.mean, mark.spread, mark.note) if part]
    style = "bold" if mark.standing == "best" else ""
    sign = _SIGNS[mark.standing]
    if stacked:
        return Text("\n".join([f"{mark.mean}{sign}", *(f"{part} " for part in parts[1:])]), style=style)
    return Text(f"{' '.join(parts)}{sign}", style=style)


def _print_details(board: Board, console: Console) -> None:
    """The table of details, in several where it is too wide; each begins with pruner and compression."""
    headers, rows = detail_table(board)
    shown = [["", *row[1:]] if row[0] == before else row for before, row in _after(rows)]
    console.print("compression, cost and layers, by pruner and compression asked for", highlight=False)
    for number, columns in enumerate(column_groups(headers, shown, console.width, repeated=2)):
        if number:
            console.print()
        part = [[row[index] for index in columns] for row in shown]
        _print_part([headers[index] for index in columns], part, console)


def _print_part(headers: Sequence[str], rows: Sequence[Sequence[str]], console: Console) -> None:
    plain = plain_table(headers, rows, left=TEXT)
    if width_of(plain) <= console.width:
        console.out(plain, highlight=False)
        return
    # Long names of layers are folded, which takes much longer.
    table = _table(None)
    for header in headers:
        table.add_column(f"{header} ", justify="left" if header in TEXT else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(f"{text} ") for text in row))
    console.print(table)


def _after(rows: Sequence[list[str]]) -> Iterator[tuple[str | None, list[str]]]:
    """Each row with the name of the one before it."""
    return zip([None, *(row[0] for row in rows)], rows, strict=False)
