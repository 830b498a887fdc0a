"""From records to leaderboards: aggregation over seeds, statistics, and the formats. Reads records only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from synflow_bench.leaderboard._board import (
    Board,
    Collapse,
    Entry,
    Incident,
    Leaderboard,
    Overall,
    OverallRank,
    Row,
    Standing,
)
from synflow_bench.leaderboard._build import build_boards, build_leaderboard
from synflow_bench.leaderboard._choose import choose
from synflow_bench.leaderboard._explanations import EXPLANATIONS, explain
from synflow_bench.leaderboard._formats import FORMATS, RECORD_FORMATS, as_leaderboard, format_of, render
from synflow_bench.leaderboard._published import PublishedRow, PublishedTable, published_tables
from synflow_bench.leaderboard._statistics import Estimate

if TYPE_CHECKING:
    from rich.console import Console

    from synflow_bench.records import Record

__all__ = [
    "EXPLANATIONS",
    "FORMATS",
    "RECORD_FORMATS",
    "Board",
    "Collapse",
    "Entry",
    "Estimate",
    "Incident",
    "Leaderboard",
    "Overall",
    "OverallRank",
    "PublishedRow",
    "PublishedTable",
    "Row",
    "Standing",
    "build_boards",
    "build_leaderboard",
    "choose",
    "explain",
    "format_of",
    "parquet",
    "print_boards",
    "published_tables",
    "render",
]


def print_boards(boards: Leaderboard | Sequence[Board], console: Console, *, details: bool = True) -> None:
    """Print boards as wide as the console is; `details` adds the table of a row a pruner and compression."""
    from synflow_bench.leaderboard import _terminal

    _terminal.print_boards(as_leaderboard(boards), console, details=details)


def parquet(records: Iterable[Record]) -> bytes:
    """The raw records as a Parquet file, a row a record. Raises `UsageError` where pyarrow is missing."""
    from synflow_bench.leaderboard import _parquet

    return _parquet.parquet(records)
