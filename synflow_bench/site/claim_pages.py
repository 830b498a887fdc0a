"""The page of published numbers beside ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from synflow_bench.leaderboard.claim_tables import (
    by_source,
    compared_table,
    paper_table,
    reason_table,
    rules,
    source_facts,
    source_table,
    summary,
)


def claim_filters() -> dict[str, Callable[..., Any]]:
    """Return the filters that the page of claims uses, by name."""
    return {
        "claims_summary": summary,
        "claims_rules": rules,
        "claims_compared": compared_table,
        "claims_papers": paper_table,
        "claims_reasons": reason_table,
        "claims_by_source": by_source,
        "claims_facts": source_facts,
        "claims_table": source_table,
    }
