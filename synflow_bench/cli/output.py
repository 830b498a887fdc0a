"""Tables on stdout, which is for results alone; and texts that any encoding can write."""

from __future__ import annotations

import codecs
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from io import TextIOWrapper
from typing import Any, TextIO

import click

from synflow_bench.docstrings import Part, parts_of
from synflow_bench.errors import RecordError, printable

_WIDTH, _WIDEST = 80, 100
"""Columns in a pipe, and the most on a terminal: longer lines are hard to read."""
_LONGEST_WORD, _GAP = 24, 3
"""The columns of a word that is never broken in a drawn table, and those between two of its columns."""
_NARROWEST = 20
"""The fewest columns to which a message is wrapped."""

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


def _ascii(name: str) -> codecs.CodecInfo | None:
    """Find ASCII under another name: click writes UTF-8 to streams whose encoding is called ASCII."""
    if name != _ASCII:
        return None
    found = codecs.lookup("ascii")
    return codecs.CodecInfo(
        encode=found.encode,
        decode=found.decode,
        incrementalencoder=found.incrementalencoder,
        incrementaldecoder=found.incrementaldecoder,
        streamreader=found.streamreader,
        streamwriter=found.streamwriter,
        name=_ASCII,
    )


_ASCII = "synflow_bench_ascii"
codecs.register_error("synflow_bench.plain", _plain)
codecs.register(_ascii)


@contextmanager
def any_encoding() -> Iterator[None]:
    """Write plain signs to stdout and stderr in place of those that their encoding lacks.

    Python would end with an error half-way.
    """
    streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, TextIOWrapper)]
    before = [(stream.encoding, stream.errors) for stream in streams]
    for stream in streams:
        is_ascii = codecs.lookup(stream.encoding).name == "ascii"
        encoding = _ASCII if is_ascii else stream.encoding
        stream.reconfigure(encoding=encoding, errors="synflow_bench.plain")
    try:
        yield
    finally:
        for stream, (encoding, errors) in zip(streams, before, strict=True):
            with suppress(ValueError, OSError):  # it is closed, or nobody reads it any more
                stream.reconfigure(encoding=encoding, errors=errors)


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


def own_stdout() -> TextIO | None:
    """Return a stream to the stdout of this process; from now on, all other output goes to stderr.

    Threads, exit handlers and processes of plugins may print at any time.

    Returns:
        The stream; None if stdout or stderr is closed, and nothing has changed.
    """
    try:
        sys.stdout.flush()
        kept = os.dup(1)
        os.dup2(2, 1)
    except (OSError, ValueError, AttributeError):
        return None
    stream = open(kept, "w", encoding=sys.stdout.encoding)  # noqa: PTH123, SIM115  open to the end
    sys.stdout = sys.stderr
    return stream


def print_json(value: Any) -> None:
    """Print the JSON of a value, as the only output on stdout."""
    print_json_text(json.dumps(value, indent=1))


def print_json_text(text: str) -> None:
    """Print the text of a JSON value to the stream of the command line for JSON, by default stdout."""
    root = click.get_current_context().find_root().command
    click.echo(text, file=getattr(root, "json_stream", None))


def say(line: str) -> None:
    """Print a message on stderr: in lines as wide as a terminal, in one line anywhere else."""
    click.echo(_fitted(printable(line), sys.stderr), err=True)


def print_line(start: str, text: str) -> None:
    """Print a line of a list on stdout: as wide as a terminal, in one line anywhere else.

    Args:
        start: What the line begins with; on a terminal its other lines are indented as far.
        text: The rest, which may be wrapped.
    """
    click.echo(start + _fitted(printable(text), sys.stdout, len(start))[len(start) :])


def _fitted(text: str, stream: TextIO, indent: int = 0) -> str:
    """Return text behind `indent` spaces; on a terminal in lines that fit, with words such as paths whole."""
    before = " " * indent
    if not stream.isatty():
        return before + text
    columns = max(indent + _NARROWEST, shutil.get_terminal_size((_WIDTH, 24)).columns)
    return textwrap.fill(
        text,
        columns,
        initial_indent=before,
        subsequent_indent=before,
        break_long_words=False,
        break_on_hyphens=False,
    )


def warn(lines: Iterable[str]) -> int:
    """Print warnings on stderr, and return the exit code: 1 if there are any."""
    code = 0
    for line in lines:
        say(f"warning: {line}")
        code = 1
    return code


def none_left(unreadable: Sequence[str]) -> RecordError:
    """Return the error where no record can be read; it names the first."""
    more = f" (and {len(unreadable) - 1} more)" if len(unreadable) > 1 else ""
    return RecordError(f"no record can be read: {unreadable[0]}{more}")


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: drawn on a terminal, in several parts where it is too wide; plain lines in a pipe.

    Args:
        header: The names of the columns.
        rows: The texts of each row, one per column.
    """
    safe = [[printable(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _draw(header, safe)
    else:
        _write([header, *safe])


def _draw(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(cell_len, column)) for column in columns]
    least = [min(width, _word_width(column)) for width, column in zip(widths, columns, strict=True)]
    for number, group in enumerate(_groups(least, console.width)):
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for index in group:
            table.add_column(header[index], overflow="fold", no_wrap=least[index] == widths[index])
        for row in rows:
            table.add_row(*(Text(row[index]) for index in group))
        if number:
            console.print()
        console.print(table)


def _word_width(column: Sequence[str]) -> int:
    """Return the width of the longest word, of which very long ones such as paths may be broken."""
    return min(_LONGEST_WORD, max((len(word) for cell in column for word in cell.split()), default=0))


def _groups(widths: Sequence[int], most: int) -> list[list[int]]:
    """Split columns into groups that fit on the terminal, each of which begins with the first column."""
    groups = [[0]]
    for index in range(1, len(widths)):
        if len(groups[-1]) > 1 and sum(widths[each] + _GAP for each in (*groups[-1], index)) - _GAP > most:
            groups.append([0])
        groups[-1].append(index)
    return groups


def _write(lines: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def text_width() -> int:
    """Return the columns of the terminal, within reason, or those of a pipe."""
    columns = shutil.get_terminal_size((_WIDTH, 24)).columns
    return min(_WIDEST, columns) if sys.stdout.isatty() else _WIDTH


def wrapped(text: str, first: str = "", later: str = "") -> str:
    """Return a paragraph in lines of `text_width`; words such as paths are never broken.

    Args:
        text: The paragraph.
        first: What its first line begins with.
        later: What its other lines begin with.
    """
    return textwrap.fill(
        " ".join(text.split()),
        text_width(),
        initial_indent=first,
        subsequent_indent=later,
        break_long_words=False,
        break_on_hyphens=False,
    )


def wrapped_docstring(text: str) -> str:
    """Return a docstring in lines of `text_width`; lists and examples stay as they are."""
    return "\n\n".join(map(_wrapped_part, parts_of(text)))


def _wrapped_part(part: Part) -> str:
    text = part.text
    if part.entries and ">>>" not in text:
        return "\n".join([f"{part.section}:", *(wrapped(entry, " " * 4, " " * 8) for entry in part.entries)])
    as_it_is = ">>>" in text or text[:1].isspace() or any(line.startswith("- ") for line in text.split("\n"))
    return text if as_it_is else wrapped(text)
