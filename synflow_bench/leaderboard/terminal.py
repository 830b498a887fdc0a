"""Boards for a terminal: one line per pruner first, everything else on request."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from shutil import get_terminal_size
from textwrap import wrap
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from synflow_bench.leaderboard.board import Board, BoardRow, Leaderboard
from synflow_bench.leaderboard.costs import budget_sentence, row_budgets
from synflow_bench.leaderboard.definitions import METRICS
from synflow_bench.leaderboard.describe import marks, notes, preliminary, tuning
from synflow_bench.leaderboard.formatting import (
    BEST,
    CHANCE,
    EQUIVALENT,
    UNDECIDED,
    TableCell,
    compression,
    compressions,
    interval,
)
from synflow_bench.leaderboard.metric import Position
from synflow_bench.leaderboard.statistics import FEW_SEEDS
from synflow_bench.leaderboard.tables import (
    COLUMN_GAP,
    Section,
    Table,
    accuracy_cell,
    column_groups,
    legend,
    measured_tables,
    sections,
)

if TYPE_CHECKING:
    from synflow_bench.leaderboard.statistics import Standing

FILE_WIDTH = 120
"""The width of a table in a file, in characters."""
_SIGNS: dict[Standing | None, str] = {"best": BEST, "equivalent": EQUIVALENT, "undecided": UNDECIDED}
_NARROWEST = 12
"""The fewest characters to which a column of words is wrapped."""


def render(leaderboard: Leaderboard) -> str:
    """Return the boards with all details as plain text of `FILE_WIDTH` columns."""
    return _as_text(lambda console: print_boards(leaderboard, console, details=True))


def sections_as_text(sections: Iterable[Section]) -> str:
    """Return sections as plain text of `FILE_WIDTH` columns."""
    return _as_text(lambda console: print_sections(sections, console))


def _as_text(write: Callable[[Console], None]) -> str:
    sink = io.StringIO()
    write(Console(file=sink, width=FILE_WIDTH, color_system=None, force_terminal=False))
    return "\n".join(line.rstrip() for line in sink.getvalue().splitlines()) + "\n"


def print_sections(sections: Iterable[Section], console: Console) -> None:
    """Print sections as wide as the console is."""
    for section in sections:
        _print_section(section, console)


def summary(leaderboard: Leaderboard) -> str:
    """Return the boards with one line per pruner, as wide as the terminal or 80 columns."""
    sink = io.StringIO()
    width = get_terminal_size((80, 24)).columns
    _print_summary(leaderboard, Console(file=sink, width=width, color_system=None, force_terminal=False))
    return sink.getvalue().rstrip()


def print_boards(leaderboard: Leaderboard, console: Console, *, details: bool = False) -> None:
    """Print every board as wide as the console is, with one line per pruner or with all details."""
    if not details and not leaderboard.columns:
        _print_summary(leaderboard, console)
        return
    for section in sections(leaderboard):
        _print_section(section, console)
    for term, meaning in legend(leaderboard, BEST):
        _print(console, f"{term}: {meaning}", "dim")


def _print_summary(leaderboard: Leaderboard, console: Console) -> None:
    left_out: list[str] = []
    for number, board in enumerate(leaderboard.boards):
        if number:
            console.print()
        shown, table = _summary(board, console.width)
        title = f"{board.heading}: test top-1 in percent"
        _print(console, "; ".join([title, *_dense(board)]), "bold")
        for line in tuning(board):
            _print(console, line, "dim")
        for line in preliminary(board):
            _print(console, line, "yellow")
        if shown:
            console.out(table, highlight=False)
        for line in budget_sentence(board):
            _print(console, line)
        for measured in measured_tables(board):
            _print_table(measured, console)
        left_out += [compression(value) for value in _pruned(board) if value not in shown]
    for section in sections(leaderboard, with_boards=False):
        console.print()
        _print_section(section, console)
    if leaderboard.boards:
        ranked = (
            "; #: rank by AUC (possible ranks)"
            if any(not board.is_preliminary for board in leaderboard.boards)
            else ""
        )
        baselines = {board.baseline: None for board in leaderboard.boards if board.baseline}
        against = "".join(f"; to {name}: AUC minus that of {name}" for name in baselines)
        absent = f"not shown: compression {', '.join(dict.fromkeys(left_out))}; " if left_out else ""
        summed = (board.auc_compressions for board in leaderboard.boards)
        grids = {compressions(each): None for each in summed if each}
        over = f", over {' or '.join(grids)}" if grids else ""
        if any(len({*row_budgets(board).values()}) > 1 for board in leaderboard.boards):
            against += "; cost: of all training and pruning, in dense trainings, averaged as the AUC"
        budgeted = any(line for board in leaderboard.boards for line in budget_sentence(board))
        unit = ["dense training: the computation of training the unpruned network once"] if budgeted else []
        few = any(len(board.seeds) < FEW_SEEDS for board in leaderboard.boards)
        many = any(len(board.seeds) >= FEW_SEEDS for board in leaderboard.boards)
        intervals = " or ".join(
            words for words, used in (("± 95 % t-interval", many), ("smallest–largest", few)) if used
        )
        for line in (
            f"mean over seeds after the last epoch, {intervals}",
            marks(leaderboard),
            f"AUC: area under accuracy against log compression{over}{ranked}{against}",
            *unit,
            f"{absent}more: leaderboard --details, --explain",
        ):
            _print(console, line, "dim")
    for board in leaderboard.boards:
        for note in notes(board):
            heading = f"{board.heading}: " if len(leaderboard.boards) > 1 else ""
            _print(console, heading + note, "yellow")


def _dense(board: Board) -> Iterator[str]:
    """Yield the accuracy of the dense network, which the table leaves out."""
    points = [point for row in board.rows if row.is_dense for point in row.points]
    yield from (f"dense network {interval(point.accuracy)}" for point in points if point.accuracy)


def _pruned(board: Board) -> list[float]:
    """Return the compressions at which some row but the dense network has a point."""
    found = {point.compression for row in board.shown if not row.is_dense for point in row.points}
    return sorted(found)


def _summary(board: Board, width: int) -> tuple[list[float], str]:
    """Return a table of one line per row, with as many compressions as fit in `width`, and these."""
    every = _pruned(board)
    for number in range(len(every), 0, -1):
        shown = _spread_out(every, number)
        table = _summary_table(board, shown)
        if _width(table) <= width:
            return shown, table
    shown = every[-1:]
    return shown, _summary_table(board, shown, width)


def _spread_out(values: Sequence[float], number: int) -> list[float]:
    """Return `number` of the values, evenly spread; the last is always one of them."""
    if number == 1:
        return [values[-1]]
    return [values[round((len(values) - 1) * step / (number - 1))] for step in range(number)]


def _summary_table(board: Board, shown: Sequence[float], width: int | None = None) -> str:
    ranked = not board.is_preliminary
    compared = [f"to {board.baseline} "] if board.baseline else []
    priced = ["cost"] if len({*row_budgets(board).values()}) > 1 else []
    tuned = [board.tuned.tuning.field] if board.tuned else []
    headings = ["pruner", *tuned, *(["#"] if ranked else []), *priced, "AUC ", *compared]
    headings += [f"{compression(value)} " for value in shown]

    def cells(row: BoardRow) -> Iterator[str]:
        yield row.label
        if tuned:
            yield METRICS["tuned"].table_cell(Position(board, row, row.points[0])).mean
        if ranked:
            yield METRICS["rank"].table_cell(Position(board, row, row.points[0])).mean
        position = Position(board, row, row.points[0])
        if priced:
            yield METRICS["AUC cost"].table_cell(position).mean
        yield _compact(METRICS["AUC"].table_cell(position))
        if compared:
            yield _compact(METRICS["AUC to baseline"].table_cell(position))
        yield from (_compact(accuracy_cell(board, row, value)) for value in shown)

    rows = [list(cells(row)) for row in board.shown if not row.is_dense]
    return text_table(headings, rows, left={0}, width=width)


def _compact(cell: TableCell) -> str:
    """Return a cell such as `93.9±5.4*`; without a sign it ends in a space, so that numbers stay aligned."""
    note = f" {cell.note}" if cell.note else ""
    chance = CHANCE if cell.chance else ""
    return f"{cell.mean}{cell.brief}{chance}{note}{_SIGNS.get(cell.standing, ' ')}"


def _print_section(section: Section, console: Console) -> None:
    _print(console, section.heading, "bold")
    for fact in section.facts:
        _print(console, fact, "yellow" if fact.startswith("preliminary") else "dim")
    for table in section.tables:
        if section.id or len(section.tables) > 1:
            _print_table(table, console)
        else:
            console.out(_fitted(table, console.width), highlight=False)
    if section.id:
        console.print()
    for note in section.notes:
        _print(console, note, "yellow" if section.id else "dim")
    if section.source:
        _print(console, section.source, "dim")
    console.print()


def _print_table(table: Table, console: Console) -> None:
    console.print()
    if table.title:
        _print(console, table.title)
    console.out(_fitted(table, console.width), highlight=False)


def _print(console: Console, line: str, style: str = "") -> None:
    console.print(Text(line, style=style))


def _fitted(table: Table, width: int) -> str:
    """Return the table, in several parts where it is too wide; each part begins with the columns of names."""
    left = {index for index, column in enumerate(table.columns) if column.is_text}
    rows = [[_signed(cell, index in left) for index, cell in enumerate(row)] for row in table.rows]
    if table.is_long:
        names = [None, *(row[0] for row in rows)]
        rows = [["" if row[0] == name else row[0], *row[1:]] for name, row in zip(names, rows, strict=False)]
    headings = [_signed(TableCell(column.heading), column.is_text) for column in table.columns]
    parts = []
    for group in column_groups(headings, rows, width, repeated=2 if table.is_long else 1):
        part = [[row[index] for index in group] for row in rows]
        words = {place for place, index in enumerate(group) if index in left}
        parts.append(text_table([headings[index] for index in group], part, words, width))
    return "\n\n".join(parts)


def _signed(cell: TableCell, is_text: bool) -> str:
    return cell.text if is_text else f"{cell.text}{_SIGNS.get(cell.standing, ' ')}"


def _width(table: str) -> int:
    return max(map(cell_len, table.splitlines()))


def text_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], left: Collection[int], width: int | None = None
) -> str:
    """Return headings, a rule and rows as plain text.

    `left` are the columns of words, which are aligned to the left and folded so that lines fit in `width`.
    """
    widths = [max(map(cell_len, column)) for column in zip(headings, *rows, strict=True)]
    excess = sum(widths) + COLUMN_GAP * (len(widths) - 1) - width if width else 0
    for index in sorted(left, key=lambda index: -widths[index]):
        if excess > 0:
            folded = max(_NARROWEST, widths[index] - excess)
            excess -= max(0, widths[index] - folded)
            widths[index] = min(widths[index], folded)
    lines = [line for row in [headings, *rows] for line in _lines(row, widths, left)]
    rule = "─" * (sum(widths) + COLUMN_GAP * (len(widths) - 1))
    head = len(list(_lines(headings, widths, left)))
    return "\n".join([*lines[:head], rule, *lines[head:]])


def _lines(cells: Sequence[str], widths: Sequence[int], left: Collection[int]) -> Iterator[str]:
    folded = [
        [cell] if cell_len(cell) <= width else wrap(cell, width)
        for cell, width in zip(cells, widths, strict=True)
    ]
    for number in range(max(map(len, folded))):
        parts = [part[number] if number < len(part) else "" for part in folded]
        yield "".join(
            part + " " * (width - cell_len(part) + COLUMN_GAP)
            if index in left
            else " " * (width - cell_len(part)) + part + " " * COLUMN_GAP
            for index, (part, width) in enumerate(zip(parts, widths, strict=True))
        ).rstrip()
