"""Every number on a board is defined somewhere that one can ask for."""

from __future__ import annotations

from typing import Any

import pytest

from synflow_bench.errors import UnknownNameError
from synflow_bench.leaderboard import EXPLANATIONS, build_leaderboard, explain
from synflow_bench.leaderboard._details import detail_table
from synflow_bench.leaderboard._grid import summary_headers
from synflow_bench.leaderboard._words import DEFINITIONS
from synflow_bench.leaderboard.site._records import metric_pairs, timing_pairs

NAMES_OF_THINGS = {"pruner", "notes", "n"}


def test_every_column_is_explained(make_record: Any, example: list[Any]) -> None:
    ablated = [
        make_record("snip", 10, seed, ablation=name)
        for name in ("shuffle", "reinit", "invert", "random-labels", "random-inputs")
        for seed in range(2)
    ]
    effective = [make_record("grasp", 10, effective_compression=11.0)]
    (board,) = build_leaderboard([*example, *ablated, *effective], baseline="snip").boards
    headers = {*summary_headers(board), *detail_table(board)[0]} - NAMES_OF_THINGS
    assert {"effective", "to best", "to baseline", "rank", "shuffle gap", "random-inputs gap"} <= headers
    assert {"area to best", "area to baseline"} <= headers
    assert headers <= EXPLANATIONS.keys()


def test_every_term_of_the_legend_is_explained_at_length() -> None:
    assert DEFINITIONS.keys() <= EXPLANATIONS.keys()


def test_every_number_of_a_record_is_explained(make_record: Any) -> None:
    record = make_record()
    pairs = [*metric_pairs(record.metrics), *timing_pairs(record.timing)]
    assert {name for name, _ in pairs} <= EXPLANATIONS.keys()
    columns = {"test loss", "kept", "MACs", "on a path", "training loss", "validation top-1"}
    assert columns <= EXPLANATIONS.keys()


@pytest.mark.parametrize(
    "name",
    [
        "rank", "RANK", "shuffle_gap", "random labels gap", " to best ", "compression", "test_loss", "macs",
        "over all parameters", "best epoch", "kept", "total s",
    ],
)  # fmt: skip
def test_a_term_may_be_written_as_a_column_is(name: str) -> None:
    assert explain(name) in EXPLANATIONS.values()


def test_an_unknown_number_is_an_error_with_a_proposal() -> None:
    with pytest.raises(UnknownNameError, match="unknown number 'rnk'; did you mean 'rank'"):
        explain("rnk")
