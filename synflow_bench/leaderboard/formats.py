"""The formats of a leaderboard; a format's libraries are loaded when it is used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from synflow_bench.errors import UnknownNameError, UsageError
from synflow_bench.leaderboard.board import Leaderboard


@dataclass(frozen=True)
class Format:
    """A format of output.

    Attributes:
        suffix: The suffix of its files.
        renderer: `module:function`, which takes a leaderboard, or records, and returns text, or bytes.
        per_seed: The same for one line per seed; empty where the format has no such lines.
        has_columns: True if columns of its tables can be chosen.
        of_records: True if it renders raw records and not boards.
    """

    suffix: str
    renderer: str
    per_seed: str = ""
    has_columns: bool = False
    of_records: bool = False

    def load(self, *, per_seed: bool = False) -> Callable[[Any], Any]:
        """Import and return the function that renders."""
        module, _, name = (self.per_seed if per_seed else self.renderer).partition(":")
        function: Callable[[Any], Any] = getattr(import_module(module), name)
        return function


_PACKAGE = "synflow_bench.leaderboard"
FORMATS = {
    "table": Format(".txt", f"{_PACKAGE}.terminal:render", has_columns=True),
    "markdown": Format(".md", f"{_PACKAGE}.markdown:render", has_columns=True),
    "latex": Format(".tex", f"{_PACKAGE}.latex:render", has_columns=True),
    "csv": Format(
        ".csv", f"{_PACKAGE}.data_formats:render_csv", f"{_PACKAGE}.data_formats:render_csv_per_seed"
    ),
    "json": Format(".json", f"{_PACKAGE}.data_formats:render_json"),
    "html": Format(".html", "synflow_bench.site:board_page"),
    "parquet": Format(".parquet", f"{_PACKAGE}.data_formats:render_parquet", of_records=True),
}
"""Name -> format."""


def render(leaderboard: Leaderboard, form: str, *, per_seed: bool = False) -> str:
    """Return a leaderboard as text; equal leaderboards give equal text.

    Args:
        leaderboard: The leaderboard.
        form: The name of a format of boards.
        per_seed: One line per seed and not per row and compression, in formats that have such lines.

    Raises:
        UnknownNameError: There is no such format.
        UsageError: The format has no lines per seed.
    """
    of_boards = [name for name, each in FORMATS.items() if not each.of_records]
    if form not in of_boards:
        raise UnknownNameError("format", form, of_boards)
    if per_seed and not FORMATS[form].per_seed:
        raise UsageError(f"format {form!r} has no lines per seed; use csv for them")
    text: str = FORMATS[form].load(per_seed=per_seed)(leaderboard)
    return text


def format_of(path: Path) -> str:
    """Return the format that the suffix of `path` stands for.

    Raises:
        UsageError: No format has the suffix.
    """
    for name, each in FORMATS.items():
        if path.suffix.lower() == each.suffix:
            return name
    known = ", ".join(each.suffix for each in FORMATS.values())
    raise UsageError(
        f"no format has the suffix of {str(path)!r}; use one of {known}, or name it with --format"
    )
