"""Tables on stdout: drawn on a terminal, plain lines in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

Row = Sequence[str]


def print_table(header: Row, rows: Sequence[Row]) -> None:
    """Print `rows` below `header`."""
    if _is_terminal():
        _draw(header, rows)
    else:
        _write([header, *rows])


def _is_terminal() -> bool:
    return sys.stdout.isatty()


def _draw(header: Row, rows: Sequence[Row]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)


def _write(lines: Sequence[Row]) -> None:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
