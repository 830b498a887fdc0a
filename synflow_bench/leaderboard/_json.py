"""Boards as JSON, complete: every seed's accuracy, every reason, and what the terms mean."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from synflow_bench.leaderboard._board import Board
from synflow_bench.leaderboard._words import DEFINITIONS, summary


def render(boards: Sequence[Board]) -> str:
    """A list of boards; accuracies and areas are shares in [0, 1]."""
    return (
        json.dumps([_board(board) for board in boards], indent=1, ensure_ascii=False, default=_plain) + "\n"
    )


def _board(board: Board) -> dict[str, Any]:
    said = {"summary": summary(board.setting), "definitions": DEFINITIONS}
    return {**_plain(board), "smoke_run": board.is_smoke_run, **said}


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    return {field.name: getattr(value, field.name) for field in fields(value)}
