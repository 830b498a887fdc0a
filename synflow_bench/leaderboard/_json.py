"""Boards as JSON, complete: every seed's accuracy, every reason, and what the terms mean."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

from synflow_bench.leaderboard._board import Board, Leaderboard
from synflow_bench.leaderboard._words import definitions, summary


def render(page: Leaderboard) -> str:
    """A list of boards, or where published tables were asked for an object with both.

    Accuracies and areas are shares in [0, 1].
    """
    boards: Any = [_board(board, page) for board in page.boards]
    whole = {"boards": boards, "published": page.published} if page.published else boards
    return json.dumps(whole, indent=1, ensure_ascii=False, default=_plain) + "\n"


def _board(board: Board, page: Leaderboard) -> dict[str, Any]:
    said = {"summary": summary(board.setting), "definitions": dict(definitions("best", page))}
    ranks = {rank.label: rank for rank in page.overall.rows} if page.overall else {}
    rows = [{**_plain(row), "overall_rank": ranks.get(row.label)} for row in board.rows]
    return {**_plain(board), "rows": rows, "smoke_run": board.is_smoke_run, **said}


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    return {field.name: getattr(value, field.name) for field in fields(value)}
