"""Boards without training: accuracies by pruner, compression and seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from synflow_bench.leaderboard import Board, build_boards, build_leaderboard, render
from synflow_bench.records import Record

Table = Mapping[str, Mapping[float, Sequence[float]]]
MakeBoard = Callable[..., Board]

COMPRESSIONS = (2, 5, 10, 20, 50)
EXAMPLE: Table = {
    "dense": {1: (0.97, 0.96, 0.98)},
    "snip": {c: (0.60 - c / 200, 0.61 - c / 200, 0.62 - c / 200) for c in COMPRESSIONS},
    "synflow": {c: (0.93 - c / 200, 0.94 - c / 200, 0.951 - c / 200) for c in COMPRESSIONS},
    "random": {c: (0.95 - c / 200, 0.91 - c / 200, 0.93 - c / 200) for c in COMPRESSIONS},
}
"""synflow is best everywhere, snip is worse by much, and three seeds cannot tell about random."""


@pytest.fixture
def records_of(make_record: Callable[..., Record]) -> Callable[..., list[Record]]:
    """Records of a table: row -> compression -> accuracies of seeds 0, 1, ..."""

    def records_of(table: Table, **common: Any) -> list[Record]:
        return [
            make_record(row, float(compression), seed=seed, top1=top1, **common)
            for row, curve in table.items()
            for compression, accuracies in curve.items()
            for seed, top1 in enumerate(accuracies)
        ]

    return records_of


@pytest.fixture
def make_board(records_of: Callable[..., list[Record]]) -> MakeBoard:
    """The one board of a table, with further records."""

    def make_board(table: Table = EXAMPLE, more: Sequence[Record] = (), **common: Any) -> Board:
        (board,) = build_boards([*records_of(table, **common), *more])
        return board

    return make_board


@pytest.fixture
def example(records_of: Callable[..., list[Record]]) -> list[Record]:
    """The records of `EXAMPLE`."""
    return records_of(EXAMPLE)


@pytest.fixture
def text_of(make_record: Callable[..., Record], example: list[Record]) -> Callable[..., str]:
    """The example with a failed cell, in any format."""

    def text_of(form: str, **options: Any) -> str:
        failed = make_record(
            "snip", 50, seed=3, status="failed", message="layer 'fc_1' has 100 % NaN & <more>"
        )
        return render(build_leaderboard([*example, failed]), form, **options)

    return text_of
