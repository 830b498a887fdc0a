"""From records to leaderboards: aggregation over seeds, statistics, and the formats. Reads records only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from synflow_bench.leaderboard._board import Board, Collapse, Entry, Incident, Row, Standing
from synflow_bench.leaderboard._build import build_boards
from synflow_bench.leaderboard._choose import choose
from synflow_bench.leaderboard._formats import FORMATS, format_of, render
from synflow_bench.leaderboard._statistics import Estimate

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "FORMATS",
    "Board",
    "Collapse",
    "Entry",
    "Estimate",
    "Incident",
    "Row",
    "Standing",
    "build_boards",
    "choose",
    "format_of",
    "print_boards",
    "render",
]


def print_boards(boards: Sequence[Board], console: Console, *, details: bool = True) -> None:
    """Print boards as wide as the console is; `details` adds the table of a row a pruner and compression."""
    from synflow_bench.leaderboard import _terminal

    _terminal.print_boards(boards, console, details=details)
