"""SynFlow conserves scores by unit and layer, through norms and shortcuts; other pruners do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from synflow_bench.errors import UsageError

Study = Callable[..., list[dict[str, Any]]]

RELATIVE = 1e-6


def largest(rows: list[dict[str, Any]]) -> float:
    assert rows
    return max(abs(row["relative_error"]) for row in rows)


@pytest.mark.parametrize(
    ("model", "shape", "units"),
    [
        ("lottery/vgg11-bn", (3, 32, 32), 64 + 128 + 2 * 256 + 4 * 512),
        ("lottery/resnet20", (3, 32, 32), 3 * 16 + 16 + 3 * 32 + 32 + 3 * 64 + 64),
    ],
)
def test_synflow_conserves_at_every_hidden_unit(
    model: str, shape: tuple[int, int, int], units: int, study: Study
) -> None:
    """A residual stage of W channels has three branches of W units and one stream of W."""
    rows = study("unit-conservation", model, "synflow", shape=shape)
    assert len(rows) == units
    assert largest(rows) < RELATIVE


def test_synflow_conserves_on_fc_when_biases_are_counted(study: Study) -> None:
    at = {"shape": (1, 8, 8), "options": {"prune_bias": True}}
    rows = study("unit-conservation", "fc", "synflow", **at)
    assert len(rows) == 500
    assert largest(rows) < RELATIVE
    assert largest(study("unit-conservation", "fc", "magnitude", **at)) > 0.1


def test_what_is_kept_conserves_too(study: Study) -> None:
    rows = study(
        "unit-conservation", "lottery/vgg11-bn", "synflow[rounds=5]", shape=(3, 32, 32), compressions=(10,)
    )
    assert largest(rows) < RELATIVE


def test_every_layer_of_a_chain_has_the_total_flow(study: Study) -> None:
    rows = study("layer-conservation", "lottery/vgg11-bn", "synflow", "random", shape=(3, 32, 32))
    synflow = [row for row in rows if row["pruner"] == "synflow"]
    assert len(synflow) == 9
    assert largest(synflow) < RELATIVE
    for row in rows:
        assert row["mean_score"] == pytest.approx(row["score_sum"] / row["size"])
        if row["pruner"] == "random" and row["size"] > 10_000:
            assert row["mean_score"] == pytest.approx(0.5, abs=0.02)  # uniform draws in any layer


def test_a_pruner_without_scores_is_refused(study: Study) -> None:
    with pytest.raises(UsageError, match="'erk'"):
        study("layer-conservation", "fc", "erk", shape=(1, 8, 8))


def test_scores_are_recorded_every_epoch(study: Study) -> None:
    rows = study("imp-conservation", "fc", "magnitude", dataset="digits", epochs=2)
    assert [row["epoch"] for row in rows] == [epoch for epoch in (0, 1, 2) for _ in range(6)]
    first = {row["epoch"]: row for row in rows if row["layer"] == "linear1.weight"}
    assert first[0]["mean_square"] == pytest.approx(1 / (3 * 64), rel=0.05)  # uniform +-1/sqrt(64)
    assert first[0]["mean_square"] < first[1]["mean_square"] < first[2]["mean_square"]
    assert first[2]["test_top1"] > first[0]["test_top1"]


def test_training_needs_a_dataset(study: Study) -> None:
    with pytest.raises(UsageError, match="--dataset"):
        study("imp-conservation", "fc", "magnitude", shape=(1, 8, 8))
