"""Every term that a page links to its definition: those of the boards, and those of single records."""

from __future__ import annotations

import re

from synflow_bench.leaderboard._explanations import EXPLANATIONS

_OF_A_RECORD = {
    "test top-1": "The share of the test set that is classified rightly after the final epoch.",
    "test top-5": (
        "The share of the test set whose class is among the network's first five answers, after the final "
        "epoch."
    ),
    "test loss": "The mean cross-entropy on the test set, in nats.",
    "training loss": (
        "The mean cross-entropy over the batches of an epoch, in nats; with label smoothing where the recipe "
        "has it."
    ),
    "validation top-1": "The share of the held-out part of the training set that is classified rightly.",
    "best epoch": (
        "The highest test top-1 of any epoch, chosen on the test set: only to compare with publications that "
        "report it."
    ),
    "untrained": "Test top-1 after pruning and before any training.",
    "density": "Kept weights over prunable weights.",
    "over all parameters": (
        "All parameters over those that are left, where those that cannot be pruned count in both."
    ),
    "on a path": "Kept weights that lie on a path of kept weights from input to output.",
    "train s": "Wall-clock seconds of training and evaluation on the machine that the record names.",
}

MEANINGS = {**EXPLANATIONS, **_OF_A_RECORD}
"""Term -> its definition, in the order of the page of definitions."""

ANCHORS = {term: re.sub(r"[^a-z0-9]+", "-", term) for term in MEANINGS}
ALIASES = {
    "n": "seeds",
    "mean rank": "overall rank",
    "95 % interval": "overall rank",
    "seed": "seeds",
    "notes": "failed",
}
"""Columns whose definition goes by another name."""


def anchors() -> dict[str, str]:
    """Term or column -> the anchor on the page of definitions."""
    return {**ANCHORS, **{column: ANCHORS[term] for column, term in ALIASES.items()}}


def meanings() -> dict[str, str]:
    """Term or column -> its definition."""
    return {**MEANINGS, **{column: MEANINGS[term] for column, term in ALIASES.items()}}
