"""TOML from anywhere, within bounds: whatever is wrong with it is a `ValueError`."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

LARGEST_TOML = 2**22
"""The bytes of a file at most."""


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no text, larger than `LARGEST_TOML`, or as in `parse_toml`.
    """
    with path.open("rb") as file:
        content = file.read(LARGEST_TOML + 1)
    if len(content) > LARGEST_TOML:
        raise ValueError(f"it has more than {LARGEST_TOML} bytes")
    return parse_toml(content.decode("utf-8-sig"))


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML.

    Raises:
        ValueError: It is not valid, too deeply nested, or has a number of thousands of digits.

    Example:
        >>> parse_toml("rounds = 10")
        {'rounds': 10}
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line_end = "Illegal character '\\n'"  # only a string on one line may not have it
        raise ValueError(str(error).replace(line_end, "a quote is not closed")) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
