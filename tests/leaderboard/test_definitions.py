"""Every number on a board is defined somewhere that one can ask for."""

from __future__ import annotations

from typing import Any

import pytest

from synflow_bench.errors import UnknownNameError
from synflow_bench.leaderboard import EXPLANATIONS, GLOSSARY, Metric, build_leaderboard, explain
from synflow_bench.leaderboard.tables import accuracy_table, details_table
from synflow_bench.site.pages import metric_pairs

COMPRESSIONS = {"1", "2", "5", "10", "20", "50"}


def test_every_column_is_explained(make_record: Any, example: list[Any]) -> None:
    ablated = [
        make_record("snip", 10, seed, ablation=name)
        for name in ("shuffle", "reinit", "invert", "random-labels", "random-inputs")
        for seed in range(2)
    ]
    effective = [make_record("grasp", 10, effective_compression=11.0)]
    (board,) = build_leaderboard([*example, *ablated, *effective], baseline="snip").boards
    headers = {*accuracy_table(board).headings, *details_table(board).headings} - {"pruner", *COMPRESSIONS}
    assert {"effective", "to best", "to baseline", "rank", "shuffle delta", "random-inputs delta"} <= headers
    assert {"AUC to best", "AUC to baseline"} <= headers
    assert headers <= EXPLANATIONS.keys()


def test_no_term_is_declared_twice_and_each_has_a_definition() -> None:
    assert len({term.name for term in GLOSSARY}) == len(GLOSSARY)
    assert all(term.definition for term in GLOSSARY)
    keys = [metric.key for metric in GLOSSARY if isinstance(metric, Metric) and metric.key]
    assert len(set(keys)) == len(keys)


def test_every_number_of_a_record_is_explained(make_record: Any) -> None:
    names = {name for name, _ in metric_pairs(make_record())}
    assert {"test top-1", "achieved", "prune s", "collapsed"} <= names <= EXPLANATIONS.keys()
    assert {
        "test loss",
        "kept",
        "MACs",
        "on a path",
        "training loss",
        "validation top-1",
    } <= EXPLANATIONS.keys()


@pytest.mark.parametrize(
    "name",
    [
        "rank", "RANK", "shuffle_delta", "random labels delta", "auc_mean", "achieved_compression",
        " to best ", "compression", "test_loss", "macs", "over all parameters", "best epoch", "kept",
        "total s",
    ],
)  # fmt: skip
def test_a_term_may_be_written_as_a_column_is(name: str) -> None:
    assert explain(name) in EXPLANATIONS.values()


def test_an_unknown_number_is_an_error_with_a_proposal() -> None:
    with pytest.raises(UnknownNameError, match="unknown number 'rnk'; did you mean 'rank'"):
        explain("rnk")
