"""How each row is drawn: the same colour, shape and dash on every board of one leaderboard."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from synflow_bench.charts import PALETTE, SHAPES
from synflow_bench.leaderboard._board import Board, Row

_DASHES = ((1, 0), (6, 3), (2, 2), (8, 2, 2, 2))


@dataclass(frozen=True)
class Look:
    """A colour in hex, the name of a shape, and the lengths of dashes and gaps in pixels."""

    colour: str
    shape: str
    dash: tuple[int, ...]


def charted(board: Board) -> list[Row]:
    """The rows that have a curve; the dense network is a level line."""
    return [row for row in board.rows if not row.is_dense and any(entry.accuracy for entry in row.entries)]


def looks(boards: Iterable[Board]) -> dict[str, Look]:
    """Row label -> its look, in the order of appearance; shape and dash tell rows of one colour apart."""
    labels = dict.fromkeys(row.label for board in boards for row in charted(board))
    return {label: _look(number) for number, label in enumerate(labels)}


def _look(number: int) -> Look:
    turn, place = divmod(number, len(PALETTE))
    return Look(PALETTE[place], SHAPES[(place + turn) % len(SHAPES)], _DASHES[turn % len(_DASHES)])
