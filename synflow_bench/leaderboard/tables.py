"""Tables of a leaderboard as text, before any format renders them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import isclose

from rich.cells import cell_len

from synflow_bench.errors import UnknownNameError, count
from synflow_bench.leaderboard.board import Board, BoardRow, Interval, Leaderboard, OverallRanking
from synflow_bench.leaderboard.definitions import EXPLANATIONS, GLOSSARY, METRICS
from synflow_bench.leaderboard.describe import comparisons, facts, notes, overall_notes, source
from synflow_bench.leaderboard.formatting import (
    BLANK,
    EQUIVALENT,
    UNDECIDED,
    TableCell,
    compression,
    interval,
    percent,
)
from synflow_bench.leaderboard.metric import Metric, Place, Position
from synflow_bench.leaderboard.published import PublishedTable

COLUMN_GAP = 2
"""Spaces between the columns of a table of plain text."""


@dataclass(frozen=True)
class Column:
    """The heading of a column; columns of words are aligned to the left."""

    heading: str
    is_text: bool = False


@dataclass(frozen=True)
class Table:
    """A table; its first column names the rows.

    Attributes:
        title: The title; empty if the heading above the table is enough.
        columns: The columns.
        rows: The cells of each row.
        name: The name of a table of many rows, which may be split between pages; empty for other tables.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[TableCell, ...], ...]
    name: str = ""

    @property
    def is_long(self) -> bool:
        """True for a table of many rows."""
        return bool(self.name)

    @property
    def headings(self) -> list[str]:
        """The headings of the columns."""
        return [column.heading for column in self.columns]

    @property
    def alignments(self) -> list[str]:
        """`left` or `right` for each column, as tabulate takes them."""
        return ["left" if column.is_text else "right" for column in self.columns]


@dataclass(frozen=True)
class Section:
    """A part of a leaderboard that every format renders in this order.

    Attributes:
        heading: The heading.
        facts: Lines under the heading.
        tables: The tables.
        notes: Lines under the tables.
        source: The line with the number and digest of a board's records; empty for other sections.
        id: The identity of the board's setting; empty for other sections.
        level: 1 for a section, 2 for a subsection of the section before it.
    """

    heading: str
    facts: tuple[str, ...]
    tables: tuple[Table, ...]
    notes: tuple[str, ...]
    source: str = ""
    id: str = ""
    level: int = 1


def sections(leaderboard: Leaderboard, *, with_boards: bool = True) -> Iterator[Section]:
    """Yield the boards with published tables below them, the overall ranking, and other published tables."""
    for board in leaderboard.boards:
        if with_boards:
            tables: tuple[Table, ...] = (accuracy_table(board, chosen=leaderboard.columns),)
            if not leaderboard.columns:
                tables = (*tables, details_table(board), *measured_tables(board))
            lines = (tuple(facts(board)), tables, (*comparisons(board), *notes(board)), source(board))
            yield Section(board.heading, *lines, board.id)
        yield from (published_section(table, level=2) for table in leaderboard.published_for(board))
    if leaderboard.overall:
        yield overall_section(leaderboard.overall)
    yield from (published_section(table) for table in leaderboard.published_alone)


def accuracy_table(board: Board, *, rank_first: bool = False, chosen: Sequence[str] = ()) -> Table:
    """Return the accuracy of every row at every compression, then its AUC and rank.

    Args:
        board: The board.
        rank_first: Put the rank beside the pruner, where it stays in sight when the table is scrolled.
        chosen: Only these columns: compressions, or names of metrics.
    """
    if chosen:
        return _chosen_columns(accuracy_table(board), chosen)
    metrics = columns(board, "accuracy")
    first = [metric for metric in metrics if rank_first and metric.name == "rank"]
    last = [metric for metric in metrics if metric not in first]

    def cells(row: BoardRow) -> Iterator[TableCell]:
        yield TableCell(row.label)
        yield from (_of_row(metric, board, row) for metric in first)
        yield from (accuracy_cell(board, row, value) for value in board.compressions)
        yield from (_of_row(metric, board, row) for metric in last)

    headings = [*(metric.name for metric in first), *map(compression, board.compressions)]
    headings += [metric.name for metric in last]
    return Table(
        title="Final-epoch test top-1 in percent, by compression",
        columns=(Column("pruner", is_text=True), *map(Column, headings)),
        rows=tuple(tuple(cells(row)) for row in board.shown),
    )


def _chosen_columns(table: Table, chosen: Sequence[str]) -> Table:
    """Return the table with these columns only, without those that the board lacks and without empty rows."""
    places = [0, *(table.headings.index(name) for name in chosen if name in table.headings)]
    rows = (tuple(row[place] for place in places) for row in table.rows)
    return replace(
        table,
        columns=tuple(table.columns[place] for place in places),
        rows=tuple(row for row in rows if any(cell.mean for cell in row[1:])),
    )


_SHORT_HEADINGS = {"cost": "AUC cost", "#": "rank"}
"""The headings of a terminal's table, and the names of their numbers."""


def column_headings(leaderboard: Leaderboard, chosen: Sequence[str]) -> tuple[str, ...]:
    """Return the headings of the columns that are meant, each once.

    Each is a compression of some board, in any notation (`100`, `1e2`, `100x`), or a number of a row in
    upper or lower case, with spaces, dashes or underscores (`auc-to-baseline`), or its short heading in a
    terminal (`cost`).

    Raises:
        UnknownNameError: One of them is neither.
    """
    names = [metric.name for metric in METRICS.values() if metric.table == "accuracy"]
    values = {compression(value): value for board in leaderboard.boards for value in board.compressions}
    meant = {_plain(name): name for name in (*names, *values)} | _SHORT_HEADINGS
    meant |= {_plain(board.tuned.tuning.field): "tuned" for board in leaderboard.boards if board.tuned}

    def heading(given: str) -> str:
        if found := meant.get(_plain(given)):
            return found
        with suppress(ValueError):
            number = float(given.lower().strip("x\N{MULTIPLICATION SIGN} "))
            if near := [name for name, value in values.items() if isclose(value, number, rel_tol=1e-3)]:
                return near[0]
        raise UnknownNameError("column", given, [*names, *values])

    return tuple(dict.fromkeys(heading(name) for name in chosen))


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("-", " ").replace("_", " ").split())


def _of_row(metric: Metric, board: Board, row: BoardRow) -> TableCell:
    return TableCell() if row.is_dense else metric.table_cell(Position(board, row, row.points[0]))


def accuracy_cell(board: Board, row: BoardRow, value: float) -> TableCell:
    """Return the accuracy of a row at one compression."""
    point = row.at(value)
    if point is None:
        return TableCell("" if row.is_dense or value == 1 else BLANK)
    return METRICS["accuracy"].table_cell(Position(board, row, point))


def details_table(board: Board) -> Table:
    """Return compression, cost and layers, one line per row and compression."""
    places = [Position(board, row, point) for row in board.shown for point in row.points]
    title = "Compression, cost and layers, by pruner and compression"
    return _long_table("details", title, columns(board, "details"), places)


def measured_tables(board: Board) -> Iterator[Table]:
    """Yield the measured sizes and speeds beside the theoretical speedup, if there are any."""
    rows = [(row, point) for row in board.shown for point in row.points if point.measured]
    if rows:
        metrics = [METRICS["compression"], METRICS["speedup"], *columns(board, "measured")]
        title = (
            "Measured: how much smaller and faster networks are without dead units, by pruner and compression"
        )
        yield _long_table("measured", title, metrics, [Position(board, *place) for place in rows])


def _long_table(name: str, title: str, metrics: Sequence[Metric], places: Sequence[Position]) -> Table:
    return Table(
        title=title,
        columns=(
            Column("pruner", is_text=True),
            *(Column(metric.name, metric.is_text) for metric in metrics),
        ),
        rows=tuple(
            (TableCell(at.row.label), *(metric.table_cell(at) for metric in metrics)) for at in places
        ),
        name=name,
    )


def overall_section(overall: OverallRanking) -> Section:
    """Return the ranks over settings, the best first."""
    table = Table(
        title="",
        columns=(
            Column("pruner", is_text=True),
            *map(Column, ("overall rank", "interquartile mean", "first improves")),
        ),
        rows=tuple(
            (
                TableCell(row.label),
                TableCell(f"{row.mean:.2f}", f"({row.low:.2f}–{row.high:.2f})"),
                TableCell(*_bootstrapped(row.interquartile_mean)),
                TableCell(*_bootstrapped(row.first_improves)) if row.first_improves else TableCell("first"),
            )
            for row in overall.ranks
        ),
    )
    heading = f"Overall rank over {count(len(overall.settings), 'setting')}"
    return Section(heading, (), (table,), tuple(overall_notes(overall)))


def _bootstrapped(found: Interval) -> tuple[str, str]:
    return percent(found.value), f"({percent(found.low)}–{percent(found.high)})"


def published_section(published: PublishedTable, level: int = 1) -> Section:
    """Return published accuracies in percent, one column per pruner."""
    table = Table(
        title="",
        columns=(Column("compression", is_text=True), *(Column(row.label) for row in published.rows)),
        rows=tuple(
            (
                TableCell(compression(value)),
                *(TableCell(interval(row.accuracy.get(value))) for row in published.rows),
            )
            for value in published.compressions
        ),
    )
    cited = f"{published.citation}; mean of three runs, with the smallest and the largest"
    heading = f"{published.title} (not ranked with ours)"
    return Section(heading, (), (table,), (*published.notes, cited), level=level)


def columns(board: Board, table: Place) -> list[Metric]:
    """Return the metrics that a table of `board` shows: those with a value in some row."""
    metrics = [metric for metric in METRICS.values() if metric.table == table]
    return [metric for metric in metrics if metric.always or _is_used(metric, board)]


def _is_used(metric: Metric, board: Board) -> bool:
    places = (
        Position(board, row, point)
        for row in board.shown
        for point in (row.points[:1] if metric.table == "accuracy" else row.points)
    )
    return any(metric.table_cell(at).mean not in {"", BLANK} for at in places)


def legend(leaderboard: Leaderboard, best: str) -> list[tuple[str, str]]:
    """Return the terms of the tables with short definitions; `best` is the mark of the best."""
    signs = {"best": best, "equivalent": EQUIVALENT, "undecided": UNDECIDED}
    places: tuple[Place, ...] = ("accuracy",) if leaderboard.columns else ("accuracy", "details", "measured")
    tables = ((board, place) for board in leaderboard.boards for place in places)
    shown = {metric.name for board, place in tables for metric in columns(board, place)}
    shown &= set(leaderboard.columns or shown)
    shown |= {"accuracy", "at chance"}
    found = [
        (signs.get(term.name, term.name), term.legend)
        for term in GLOSSARY
        if term.legend and (term.name in shown or not isinstance(term, Metric))
    ]
    over_settings = ("overall rank", "interquartile mean", "first improves")
    overall = [(name, EXPLANATIONS[name]) for name in over_settings] if leaderboard.overall else []
    return [*found, *overall]


def column_groups(
    headings: Sequence[str], rows: Sequence[Sequence[str]], width: int, repeated: int
) -> list[list[int]]:
    """Split columns into groups of indices that fit beside each other in `width` characters.

    Each group begins with the first `repeated` columns. A column that is wider than `width` forms a group.
    """
    widths = [max(map(cell_len, column)) + COLUMN_GAP for column in zip(headings, *rows, strict=True)]
    first = list(range(repeated))
    groups = [list(first)]
    for index in range(repeated, len(widths)):
        needed = sum(widths[each] for each in [*groups[-1], index]) - COLUMN_GAP
        if needed > width and len(groups[-1]) > repeated:
            groups.append(list(first))
        groups[-1].append(index)
    return groups
