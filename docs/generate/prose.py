"""Docstrings and tables as Markdown."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence

_CODE = re.compile(r"(`[^`]*`)")
_SIGNS = re.compile(r"([*_<>\[\]])")
_PAPER = re.compile(r"arXiv\s+(\d{4}\.\d{5})")


def docstring(kind: type) -> str:
    """Return the directive by which mkdocstrings renders the docstring of a class."""
    options = ["show_root_heading: false", "show_root_toc_entry: false", "members: []"]
    lines = [f"::: {kind.__module__}.{kind.__qualname__}", "    options:"]
    return "\n".join([*lines, *(f"      {option}" for option in options)])


def first_line(thing: object) -> str:
    """Return the first line of the docstring."""
    return _line((inspect.getdoc(thing) or "").partition("\n")[0])


def papers(thing: object) -> list[str]:
    """Return links to the papers whose arXiv numbers are in the docstring."""
    return list(dict.fromkeys(_link(n) for n in _PAPER.findall(inspect.getdoc(thing) or "")))


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; vertical bars in cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def code(text: object) -> str:
    """Return the text between backticks; empty where there is none."""
    return f"`{text}`" if text not in (None, "") else ""


def _line(line: str) -> str:
    if line.startswith("    "):
        return line
    parts = _CODE.split(line)
    return "".join(part if part.startswith("`") else _escaped(part) for part in parts)


def _escaped(text: str) -> str:
    return _PAPER.sub(lambda match: _link(match[1]), _SIGNS.sub(r"\\\1", text))


def _link(number: str) -> str:
    return f"[arXiv {number}](https://arxiv.org/abs/{number})"


def _cell(cell: object) -> str:
    return " ".join(str(cell).split()).replace("|", "\\|")
