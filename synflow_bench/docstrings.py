"""Docstrings in Google style: their paragraphs, and their sections with named entries."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

_BLANK_LINES = re.compile(r"\n\s*\n")
_SECTION = re.compile(r"[A-Z]\w+:")
_ENTRY = re.compile(r"^\S.*\n(?:[ ].*\n)*", re.MULTILINE)
_NAMED = re.compile(r"(?P<name>\w+)[^:\n]*: (?P<meaning>.*)", re.DOTALL)


@dataclass(frozen=True)
class Part:
    """A paragraph, or a section such as `Args:` with its entries.

    Attributes:
        text: The part as it is written.
        section: The word before the colon; empty for a paragraph.
        entries: The entries of a section; a line that is indented further belongs to the one before.
    """

    text: str
    section: str = ""
    entries: tuple[str, ...] = ()

    @property
    def meanings(self) -> dict[str, str]:
        """The entries that have a name, by that name, each in one line."""
        named = filter(None, map(_NAMED.match, self.entries))
        return {each["name"]: " ".join(each["meaning"].split()) for each in named}


def parts_of(docstring: str) -> list[Part]:
    """Divide a docstring, without the indentation of its source, at blank lines.

    Example:
        >>> first, second = parts_of("Add.\\n\\nArgs:\\n    a: One\\n        of both.\\n    b: Another.")
        >>> first.text, second.section, second.meanings
        ('Add.', 'Args', {'a': 'One of both.', 'b': 'Another.'})
    """
    return [_part(text) for text in _BLANK_LINES.split(docstring.strip("\n"))]


def _part(text: str) -> Part:
    head, _, rest = text.partition("\n")
    if not _SECTION.fullmatch(head):
        return Part(text)
    return Part(text, head[:-1], tuple(_ENTRY.findall(textwrap.dedent(rest) + "\n")))
