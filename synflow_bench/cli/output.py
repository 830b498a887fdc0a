"""Tables on stdout, which is for results alone; and texts that any encoding can write."""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from io import TextIOWrapper

import click

_PLAIN = {
    "\u2013": "-",
    "\u2014": "-",
    "\u2212": "-",
    "\u2010": "-",
    "\u2011": "-",
    "\u2026": "...",
    "\u00b1": "+/-",
    "\u00d7": "x",
    "\u00b7": ".",
    "\u2022": "*",
    "\u2192": "->",
    "\u2190": "<-",
    "\u2191": "^",
    "\u2193": "v",
    "\u2264": "<=",
    "\u2265": ">=",
    "\u2248": "~",
    "\u221e": "inf",
    "\u2018": "'",
    "\u2019": "'",
    "\u201c": '"',
    "\u201d": '"',
    "\u00a0": " ",
    "\u202f": " ",
    "\ufffd": "?",
}
"""Signs for encodings that lack them."""
_DRAWN = {"\u2500": "-", "\u2501": "=", "\u2550": "=", "\u2502": "|", "\u2503": "|", "\u2588": "#"}
"""The lines and bars of tables and charts; other signs of their block become `+`."""


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Replace what an encoding lacks: an error handler for `codecs`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain_sign, error.object[error.start : error.end])), error.end


def _plain_sign(sign: str) -> str:
    if "\u2500" <= sign <= "\u259f":
        return _DRAWN.get(sign, "+")
    if "\u2800" <= sign <= "\u28ff":  # the dots of a spinner
        return "."
    return _PLAIN.get(sign) or sign.encode("ascii", "backslashreplace").decode()


codecs.register_error("synflow_bench.plain", _plain)


@contextmanager
def any_encoding() -> Iterator[None]:
    """Write plain signs to stdout and stderr in place of those that their encoding lacks.

    Python would end with an error half-way.
    """
    streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, TextIOWrapper)]
    before = [stream.errors for stream in streams]
    for stream in streams:
        stream.reconfigure(errors="synflow_bench.plain")
    try:
        yield
    finally:
        for stream, errors in zip(streams, before, strict=True):
            with suppress(ValueError, OSError):  # it is closed, or nobody reads it any more
                stream.reconfigure(errors=errors)


@contextmanager
def prints_to_stderr() -> Iterator[None]:
    """Send to stderr what plugins print, from Python or not: stdout is for results alone.

    Processes that start meanwhile have stderr for stdout too.
    """
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    try:
        kept = os.dup(1)
        os.dup2(2, 1)
    except OSError:  # stdout or stderr is closed
        kept = None
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        if kept is not None:
            os.dup2(kept, 1)
            os.close(kept)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: drawn on a terminal, plain lines in a pipe.

    Args:
        header: The names of the columns.
        rows: The texts of each row, one per column.
    """
    if sys.stdout.isatty():
        _draw(header, rows)
    else:
        _write([header, *rows])


def _draw(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
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


def _write(lines: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
