"""Docstrings, signatures and tables as Markdown."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence

_CODE = re.compile(r"(`[^`]*`)")
_SIGNS = re.compile(r"([*_<>\[\]])")
_PAPER = re.compile(r"arXiv\s+(\d{4}\.\d{5})")


def docstring(thing: object) -> str:
    """The docstring as paragraphs, code and papers; signs that Markdown would read stay signs."""
    return prose(inspect.getdoc(thing) or "")


def prose(text: str) -> str:
    """The same of any text."""
    return "\n".join(map(_line, text.splitlines()))


def first_line(thing: object) -> str:
    """The docstring's first line."""
    return _line((inspect.getdoc(thing) or "").partition("\n")[0])


def papers(thing: object) -> list[str]:
    """Links to the papers that the docstring names by their number."""
    return list(dict.fromkeys(_link(n) for n in _PAPER.findall(inspect.getdoc(thing) or "")))


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; a bar in a cell stays a bar."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def code(text: object) -> str:
    """The text as it is written in code; nothing for nothing."""
    return f"`{text}`" if text not in (None, "") else ""


def fenced(text: str, language: str = "python") -> str:
    """A block of code."""
    return f"```{language}\n{text}\n```"


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
