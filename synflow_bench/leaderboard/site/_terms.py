"""Every term that a page links to its definition, by the words that a page has for it."""

from __future__ import annotations

import re

from synflow_bench.leaderboard._explanations import EXPLANATIONS

ANCHORS = {term: re.sub(r"[^a-z0-9]+", "-", term.lower()) for term in EXPLANATIONS}
ALIASES = {
    "n": "seeds",
    "mean rank": "overall rank",
    "95 % interval": "overall rank",
    "seed": "seeds",
    "notes": "failed",
    "MACs, dense": "MACs",
}
"""Columns whose definition goes by another name."""


def anchors() -> dict[str, str]:
    """Term or column -> the anchor on the page of definitions."""
    return {**ANCHORS, **{column: ANCHORS[term] for column, term in ALIASES.items()}}


def meanings() -> dict[str, str]:
    """Term or column -> its definition."""
    return {**EXPLANATIONS, **{column: EXPLANATIONS[term] for column, term in ALIASES.items()}}
