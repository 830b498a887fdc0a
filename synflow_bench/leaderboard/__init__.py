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
    MeasuredPoint,
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
from synflow_bench.leaderboard.claim_tables import CLAIM_FORMS, render_claims
from synflow_bench.leaderboard.claims import Claim, ClaimChecks, Verdict, check_claims
from synflow_bench.leaderboard.definitions import EXPLANATIONS, GLOSSARY, explain
from synflow_bench.leaderboard.formats import FORMATS, Format, format_of, render
from synflow_bench.leaderboard.metric import Metric, Term
from synflow_bench.leaderboard.published import (
    PublishedNumber,
    PublishedRow,
    PublishedSource,
    PublishedTable,
    choose_numbers,
    published_numbers,
    published_tables,
)
from synflow_bench.leaderboard.statistics import Estimate, Standing
from synflow_bench.leaderboard.tables import column_headings

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "CLAIM_FORMS",
    "EXPLANATIONS",
    "FORMATS",
    "GLOSSARY",
    "MARGIN",
    "Board",
    "BoardRow",
    "Claim",
    "ClaimChecks",
    "CollapsedLayer",
    "CurvePoint",
    "Estimate",
    "Format",
    "Interval",
    "Leaderboard",
    "MeasuredPoint",
    "Metric",
    "OverallRanking",
    "OverallRow",
    "PublishedNumber",
    "PublishedRow",
    "PublishedSource",
    "PublishedTable",
    "RankRange",
    "RankTest",
    "Standing",
    "Term",
    "UnfinishedCells",
    "Verdict",
    "build_boards",
    "build_leaderboard",
    "check_claims",
    "choose",
    "choose_numbers",
    "column_headings",
    "explain",
    "format_of",
    "no_records",
    "print_boards",
    "print_claims",
    "published_numbers",
    "published_tables",
    "read_leaderboard",
    "render",
    "render_claims",
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


def print_claims(checks: ClaimChecks, console: Console | None = None, *, details: bool = False) -> None:
    """Print the verdicts on published numbers as wide as the console is.

    Args:
        checks: The verdicts.
        console: A console of rich; by default standard output.
        details: Also print every number; by default only those that could be compared, and counts.
    """
    from rich.console import Console

    from synflow_bench.leaderboard.claim_tables import claim_sections
    from synflow_bench.leaderboard.terminal import print_sections

    print_sections(claim_sections(checks, details=details), console or Console())
