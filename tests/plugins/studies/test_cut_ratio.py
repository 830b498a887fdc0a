"""Cut ratios, compared with a computation by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from synflow_bench.errors import UsageError
from synflow_bench_studies.catalogue import find_study
from synflow_bench_studies.request import Request

LINEAR = """
    from torch import nn
    def linear(input_shape, num_classes):
        return nn.Sequential(nn.Flatten(), nn.Linear(4, 3, bias=False), nn.Linear(3, num_classes, bias=False))
    @hookimpl
    def synflow_bench_models():
        return {"linear": linear}
"""

Study = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def linear(distribution: Any) -> str:
    distribution("linear-model", LINEAR)
    return "linear"


def test_one_round_of_a_linear_network_is_the_sum_of_the_smallest_scores_over_r(
    linear: str, study: Study, request_of: Callable[..., Request]
) -> None:
    at = {"shape": (1, 2, 2), "classes": 2, "compressions": (2,), "rounds": (1,), "schedules": ("linear",)}
    (row,) = study("cut-ratio", linear, "synflow", **at)
    (subject,) = request_of(linear, "synflow", **at).subjects()
    first, last = (parameter.detach().double().abs() for parameter in subject.network.model.parameters())
    into, out = first.sum(1), last.sum(0)
    # f(1; |w|) = sum over hidden units of the weights into the unit times those out of it
    flow = (into * out).sum()
    scores = torch.cat([(first * out[:, None]).flatten(), (last * into).flatten()])
    assert len(scores) == 18
    expected = scores.sort().values[:9].sum() / flow
    assert row["cut_ratio"] == pytest.approx(float(expected), rel=1e-5)
    assert row["schedule"] == "linear"
    assert (row["compression"], row["rounds"], row["rounds_with_flow"]) == (2, 1, 1)


def test_all_scores_but_one_are_nearly_twice_the_flow_of_two_layers(linear: str, study: Study) -> None:
    (row,) = study(
        "cut-ratio", linear, "synflow", shape=(1, 2, 2), classes=2, compressions=(18,), rounds=(1,)
    )
    assert 1.5 < row["cut_ratio"] < 2


def test_more_rounds_cut_less_and_the_exponential_schedule_less_than_the_linear(study: Study) -> None:
    rows = study(
        "cut-ratio",
        "fc",
        "synflow",
        shape=(1, 8, 8),
        compressions=(100,),
        rounds=(1, 10, 50),
        schedules=("linear", "exponential"),
    )
    ratio = {(row["schedule"], row["rounds"]): row["cut_ratio"] for row in rows}
    assert ratio["linear", 1] == ratio["exponential", 1]
    for schedule in ("linear", "exponential"):
        assert ratio[schedule, 1] > ratio[schedule, 10] > ratio[schedule, 50]
    assert ratio["exponential", 50] < ratio["linear", 50]


def test_biases_are_part_of_the_total_flow(study: Study, request_of: Callable[..., Request]) -> None:
    rows = study("layer-conservation", "fc", "synflow", shape=(1, 8, 8))
    (subject,) = request_of("fc", "synflow", shape=(1, 8, 8)).subjects()
    model = subject.network.model.double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_()
        flow = float(model(torch.ones(1, 1, 8, 8, dtype=torch.float64)).sum())
    assert [row["total_flow"] for row in rows] == pytest.approx([flow] * 6, rel=1e-12)


def test_a_pruner_without_rounds_of_scores_is_refused(study: Study) -> None:
    with pytest.raises(UsageError, match="'erk'"):
        study("cut-ratio", "fc", "erk", shape=(1, 8, 8))


def ratio(rounds: int, with_flow: int, cut_ratio: float | None = 0.5, seed: int = 0) -> dict[str, Any]:
    names = {"dataset": "digits", "model": "fc", "seed": seed, "pruner": "synflow", "schedule": "linear"}
    return {
        **names,
        "compression": 10,
        "rounds": rounds,
        "cut_ratio": cut_ratio,
        "rounds_with_flow": with_flow,
    }


def test_a_point_without_flow_in_a_round_of_any_seed_is_hollow_with_a_note() -> None:
    rows = [ratio(1, 1), ratio(3, 3), ratio(3, 1, seed=1), ratio(10, 0, None)]
    chart = find_study("cut-ratio").chart(rows).to_dict()
    marked = {(row["rounds"], row["seed"]): row["ended"] for row in chart["data"]["values"]}
    assert marked == {(1, 0): False, (3, 0): True, (3, 1): True}
    marks = [layer["mark"] for layer in chart["spec"]["layer"] if layer["mark"]["type"] == "point"]
    assert [mark["filled"] for mark in marks] == [True, False]
    _, hollow, absent = chart["title"]["subtitle"]
    assert hollow.startswith("hollow")
    assert "1 of 4" in absent


def test_a_chart_without_such_points_has_no_note_on_them() -> None:
    assert len(find_study("cut-ratio").chart([ratio(1, 1)]).to_dict()["title"]["subtitle"]) == 1
