"""The declaration of a number: its name, its definition, its value and its text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from synflow_bench.leaderboard.board import Board, BoardRow, CurvePoint
from synflow_bench.leaderboard.formatting import BLANK, TableCell
from synflow_bench.records import Record, Result

AnyResult = Record | Result
Place = Literal["accuracy", "details", "measured", ""]

INTERVAL = ("mean", "t95_half_width", "low", "high")
SIMULTANEOUS = ("mean", "simultaneous_half_width", "low", "high")
"""Parts of estimates, as suffixes of CSV columns; `low` and `high` are the ends of the interval as it is
shown."""
_ATTRIBUTES = {"t95_half_width": "half_width", "simultaneous_half_width": "half_width"}
"""Part -> the attribute with its value, where the two names differ."""


@dataclass(frozen=True)
class Position:
    """A position on a board; for numbers of a whole row, any of its points."""

    board: Board
    row: BoardRow
    point: CurvePoint


@dataclass(frozen=True)
class Term:
    """A word of the leaderboard.

    Attributes:
        name: The word, as `--explain` takes it.
        definition: Its complete definition.
        legend: A short definition for the legend of a board; empty if the legend does not need one.
    """

    name: str
    definition: str
    legend: str = ""


@dataclass(frozen=True)
class Metric(Term):
    """A number; `name` is also the heading of its column.

    Attributes:
        key: The name of its columns in CSV; empty where CSV does not have it.
        parts: The parts of its values, one CSV column per part; empty for plain values.
        table: The table of a board that shows it: `accuracy` has one row per pruner, `details` and
            `measured` one row per pruner and compression.
        always: Show its column even if all its cells are empty.
        is_text: Align its column to the left.
        of_record: Its value in one record; None where a record does not have it.
        of_board: Its value on a board.
        show: Writes a value as text.
        cell: Returns the cell of a table, if that needs more than the value.
        record_text: Writes the value of a record, if that needs more than the value.
    """

    key: str = ""
    parts: tuple[str, ...] = ()
    table: Place = ""
    always: bool = False
    is_text: bool = False
    of_record: Callable[[AnyResult], Any] | None = None
    of_board: Callable[[Position], Any] | None = None
    show: Callable[[Any], str | TableCell] = str
    cell: Callable[[Position], str | TableCell] | None = None
    record_text: Callable[[AnyResult], str] | None = None

    @property
    def columns(self) -> list[str]:
        """The CSV columns of a board's value."""
        return [f"{self.key}_{part}" for part in self.parts] or [self.key]

    def values(self, at: Position) -> Iterator[tuple[str, Any]]:
        """Yield the CSV columns with a board's values."""
        value = self.of_board(at) if self.of_board else None
        for column, part in zip(self.columns, self.parts or ("",), strict=True):
            yield column, getattr(value, _ATTRIBUTES.get(part, part), value)

    def table_cell(self, at: Position) -> TableCell:
        """Return the cell in a table of a board."""
        shown = self.cell(at) if self.cell else self.show(self.of_board(at)) if self.of_board else BLANK
        return TableCell(shown) if isinstance(shown, str) else shown

    def in_record(self, record: AnyResult) -> str:
        """Return the text on the page of one record."""
        if self.record_text:
            return self.record_text(record)
        value = self.of_record(record) if self.of_record else None
        return BLANK if value is None else str(self.show(value))
