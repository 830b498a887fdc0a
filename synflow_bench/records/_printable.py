"""Recorded text made safe to print: it comes from plugins, and a terminal obeys control characters."""

from __future__ import annotations


def printable(text: str) -> str:
    """`text` in one line, control characters replaced."""
    return _replaced(" ".join(text.split()))


def printable_lines(text: str) -> str:
    """`text` with its lines and indentation, other control characters replaced."""
    return "\n".join(map(_replaced, text.expandtabs(4).splitlines()))


def _replaced(text: str) -> str:
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
