"""Exceptions as causes."""

from __future__ import annotations


def one_line(error: BaseException) -> str:
    """An exception as one line: `ImportError: no module named 'x'`."""
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
