"""From records to leaderboards: aggregation over seeds, statistics, and the formats. Reads records only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synflow_bench.leaderboard.board import (
    MARGIN,
    Board,
    BoardRow,
    CollapsedLayer,
    CurvePoint,
    Interval,
    Leaderboard,
    OverallRanking,
    OverallRow,
    RankRange,
    RankTest,
    UnfinishedCells,
)
from synflow_bench.leaderboard.build import (
    build_boards,
    build_leaderboard,
    choose,
    no_records,
    read_leaderboard,
)
from synflow_bench.leaderboard.definitions import EXPLANATIONS, GLOSSARY, explain
from synflow_bench.leaderboard.formats import FORMATS, Format, format_of, render
from synflow_bench.leaderboard.metric import Metric, Term
from synflow_bench.leaderboard.published import PublishedRow, PublishedTable, published_tables
from synflow_bench.leaderboard.statistics import Estimate, Standing
from synflow_bench.leaderboard.tables import check_columns

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "EXPLANATIONS",
    "FORMATS",
    "GLOSSARY",
    "MARGIN",
    "Board",
    "BoardRow",
    "CollapsedLayer",
    "CurvePoint",
    "Estimate",
    "Format",
    "Interval",
    "Leaderboard",
    "Metric",
    "OverallRanking",
    "OverallRow",
    "PublishedRow",
    "PublishedTable",
    "RankRange",
    "RankTest",
    "Standing",
    "Term",
    "UnfinishedCells",
    "build_boards",
    "build_leaderboard",
    "check_columns",
    "choose",
    "explain",
    "format_of",
    "no_records",
    "print_boards",
    "published_tables",
    "read_leaderboard",
    "render",
]


def print_boards(leaderboard: Leaderboard, console: Console | None = None, *, details: bool = False) -> None:
    """Print a leaderboard as wide as the console is.

    Args:
        leaderboard: The leaderboard.
        console: A console of rich; by default standard output.
        details: Print everything; by default one line per pruner, a short legend, and warnings last.
    """
    from rich.console import Console

    from synflow_bench.leaderboard import terminal

    terminal.print_boards(leaderboard, console or Console(), details=details)
