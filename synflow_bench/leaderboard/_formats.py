"""The formats of a leaderboard by name; a format's libraries are loaded when it is used."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from synflow_bench.errors import UnknownNameError, UsageError
from synflow_bench.leaderboard._board import Board, Leaderboard
from synflow_bench.leaderboard._ranks import overall

FORMATS = {
    "table": ".txt",
    "markdown": ".md",
    "latex": ".tex",
    "csv": ".csv",
    "json": ".json",
    "html": ".html",
}
"""Format -> the suffix of its files."""

RECORD_FORMATS = {"parquet": ".parquet"}
"""Formats of the raw records, not of boards: format -> the suffix of its files."""

_MODULES = {"table": "_terminal"} | {name: f"_{name}" for name in FORMATS if name != "table"}


def render(boards: Leaderboard | Sequence[Board], form: str) -> str:
    """The text of `boards` in the format `form`: equal boards give equal bytes."""
    if form not in FORMATS:
        raise UnknownNameError("format", form, FORMATS)
    module = import_module(f"synflow_bench.leaderboard.{_MODULES[form]}")
    text: str = module.render(as_leaderboard(boards))
    return text


def as_leaderboard(boards: Leaderboard | Sequence[Board]) -> Leaderboard:
    """Bare boards with the ranks over them."""
    return boards if isinstance(boards, Leaderboard) else Leaderboard(tuple(boards), overall(boards))


def format_of(path: Path) -> str:
    """The format that the suffix of `path` stands for."""
    suffixes = {**FORMATS, **RECORD_FORMATS}
    for name, suffix in suffixes.items():
        if path.suffix.lower() == suffix:
            return name
    known = ", ".join(suffixes.values())
    raise UsageError(
        f"no format has the suffix of {str(path)!r}; use one of {known}, or name it with --format"
    )
