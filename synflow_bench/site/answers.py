"""The answers of a leaderboard: who is best on each board, by how much, and how many rows are not worse."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from synflow_bench.errors import count
from synflow_bench.leaderboard import Board, Standing
from synflow_bench.leaderboard.costs import budget_sentence
from synflow_bench.leaderboard.formatting import interval


def answers(board: Board) -> list[str]:
    """Return one or two sentences that answer which row of a board is the best.

    The first names the best row, within each budget where costs are known; the second says how many rows
    the comparison by the AUC, or at the largest compression, leaves beside it.
    """
    best = [*budget_sentence(board)] or [*_best(board)]
    return [*best, *_others(board)]


def _best(board: Board) -> Iterator[str]:
    """Yield the row with the best AUC over equal seeds; means over other seeds would say little."""
    rows = [row for row in board.rows if row.competes and row.auc]
    same = rows if all(row.aucs.keys() == rows[0].aucs.keys() for row in rows) else []
    best = next((row for row in rows if row.auc_standing == "best"), next(iter(same), None))
    if best and not board.is_at_chance(best):
        yield f"{best.label} has the best AUC, {interval(best.auc)} %"


def _others(board: Board) -> Iterator[str]:
    """Yield the number of rows in each standing beside the best AUC."""
    found = Counter(row.auc_standing for row in board.rows if row.competes and row.auc_standing)
    others = sum(found.values()) - found["best"]
    if not others or not found["best"]:
        return
    words: dict[Standing, str] = {
        "equivalent": "equivalent",
        "undecided": "not told apart by these seeds",
        "worse": "worse",
    }
    parts = [f"{found[standing]} {text}" for standing, text in words.items() if found[standing]]
    yield f"beside the best AUC, of {count(others, 'other row')}: {', '.join(parts)}"
