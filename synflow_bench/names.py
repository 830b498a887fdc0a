"""What a name may look like. Apart from `suites`, which loads pydantic, so that listing stays quick."""

from __future__ import annotations

import re

DENSE = "dense"
"""The name of the unpruned network's row; no pruner may take it."""

NAME_RULE = "lower-case letters, digits and . _ / - only, a letter or digit first, at most 64"

_NAME = re.compile(r"[a-z0-9][a-z0-9._/-]{0,63}")


def is_plain_name(name: str) -> bool:
    """Whether `name` may stand in file names and pages: `NAME_RULE`, and no `..` or empty part."""
    return bool(_NAME.fullmatch(name)) and all(part.strip(".") for part in name.split("/"))
