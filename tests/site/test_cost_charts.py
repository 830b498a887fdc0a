"""Charts of cost: what is drawn at which compression and budget, labels, bands and colors of many rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from synflow_bench.charts import PALETTE, mark_styles
from synflow_bench.errors import UnknownNameError, UsageError
from synflow_bench.host import Host
from synflow_bench.leaderboard import Leaderboard, build_leaderboard
from synflow_bench.records import Record
from synflow_bench.site import accuracy_figure, cost_figure
from synflow_bench.site.charts import accuracy_chart, row_styles
from synflow_bench.site.cost_charts import cost_chart, cost_compressions, cost_notes, cost_values

MakeRecord = Callable[..., Record]
PRICES = {"snip": 0.1, "synflow": 0.2, "set": 0.8, "rigl": 3.0, "random": 0.15}
HEIGHTS = {"snip": 0.7, "synflow": 0.8, "set": 0.75, "rigl": 0.9, "random": 0.6}


@pytest.fixture
def priced(make_record: MakeRecord) -> Leaderboard:
    records = [
        make_record(row, at, seed=seed, top1=HEIGHTS[row] + seed / 1000, cost=price + 1 / at)
        for row, price in PRICES.items()
        for at in (2, 10, 50)
        for seed in range(2)
    ]
    return build_leaderboard(records)


@pytest.fixture
def crowd(make_record: MakeRecord) -> Leaderboard:
    """A board of 25 rows."""
    return build_leaderboard(
        [make_record(f"row-{number}", at, cost=1 + number) for number in range(25) for at in (2, 10)]
    )


def drawn(spec: Any, mark: str) -> list[dict[str, Any]]:
    """The values of the first layer with this mark."""
    layer = next(each for each in spec["layer"] if each["mark"]["type"] == mark)
    data = layer.get("data") or spec["data"]
    found: list[dict[str, Any]] = data["values"] if "values" in data else spec["datasets"][data["name"]]
    return found


def test_accuracy_is_drawn_against_cost_at_the_middle_compression_or_at_another(priced: Leaderboard) -> None:
    values = drawn(cost_figure(priced).to_dict(), "point")
    assert {value["row"]: value["cost"] for value in values} == pytest.approx(
        {row: price + 1 / 10 for row, price in PRICES.items()}
    )
    assert {value["at"] for value in drawn(cost_figure(priced, at=50).to_dict(), "point")} == {"50"}
    with pytest.raises(UnknownNameError, match="50"):
        cost_figure(priced, at=51)


def test_the_line_leads_over_the_rows_that_no_cheaper_one_equals(priced: Leaderboard) -> None:
    line = drawn(cost_figure(priced).to_dict(), "line")
    assert sorted(value["row"] for value in line) == ["rigl", "snip", "synflow"]
    assert [value["mean"] for value in sorted(line, key=lambda value: value["cost"])] == pytest.approx(
        [70.05, 80.05, 90.05]
    )


def test_labels_stand_apart(make_record: MakeRecord) -> None:
    records = [
        make_record(f"row-{number}", 10, top1=0.5 + number / 100, cost=1 + number / 50)
        for number in range(25)
    ]
    line = drawn(cost_figure(build_leaderboard(records)).to_dict(), "line")
    named = [value for value in line if value["label"]]
    assert len(line) == 25
    assert named[0]["label"] == "row-24", "the best of all has one"
    # A letter is 7 pixels wide and 14 high in a chart of 420 x 300, over 0.3 decades and 24 points.
    places = [(420 * math.log10(each["cost"]) / 0.3, 300 * each["mean"] / 25) for each in named]
    for number, (x, y) in enumerate(places):
        for other_x, other_y in places[:number]:
            assert abs(x - other_x) > 7 * len("row-0") or abs(y - other_y) > 14


def test_rows_that_cost_more_than_the_budget_are_not_drawn(priced: Leaderboard) -> None:
    values = drawn(accuracy_figure(priced, budget=0.31).to_dict(), "point")
    assert {(value["row"], value["compression"]) for value in values} == {
        *((row, 50) for row in ("snip", "synflow", "random")),
        *((row, 10) for row in ("snip", "synflow", "random")),
    }
    assert len(drawn(accuracy_figure(priced).to_dict(), "point")) == 15
    assert priced.chart(budget=0.31).to_dict() == accuracy_figure(priced, budget=0.31).to_dict()
    with pytest.raises(UsageError, match=r"0\.01"):
        accuracy_figure(priced, budget=0.01)


def test_a_page_chooses_the_budget_and_the_compression(priced: Leaderboard) -> None:
    (board,) = priced.boards
    styles = row_styles(priced.boards)
    accuracy, cost = accuracy_chart(board, styles).to_dict(), cost_chart(board, styles).to_dict()
    assert {"name": "budget", "value": 0} in accuracy["params"]
    assert {"name": "at", "value": "10"} in cost["params"]
    assert cost_compressions(board) == ["2", "10", "50"]
    spans = next(each["value"] for each in cost["params"] if each["name"] == "spans")
    assert all(low < 60 and high > 90 for low, high in spans.values())


def test_points_without_a_cost_are_counted(make_record: MakeRecord) -> None:
    severed = make_record("snip", 50, theoretical_speedup=None, collapsed_layers=("fc1",))
    records = [make_record("snip", 10, cost=0.1), make_record("synflow", 10, cost=0.2), severed]
    (board,) = build_leaderboard(records).boards
    assert list(cost_notes(board)) == ["not drawn: 1 point without a cost, or where no weight can act"]
    assert len(cost_values(board)) == 2


def test_without_two_costs_there_is_nothing_to_draw(make_record: MakeRecord) -> None:
    with pytest.raises(UsageError, match="needs two rows with a known cost at one compression"):
        cost_figure(build_leaderboard([make_record("snip", 10, cost=0.1)]))


@pytest.mark.parametrize(
    ("wrong", "fact"),
    [
        ({"kind": "cost", "budget": 2}, "no budget"),
        ({"at": 10}, "not at one compression"),
        ({"kind": "cost", "axis": "effective"}, "no axis"),
    ],
)
def test_what_has_no_effect_on_a_chart_is_refused(
    priced: Leaderboard, wrong: dict[str, Any], fact: str
) -> None:
    with pytest.raises(UsageError, match=fact):
        priced.chart(**wrong)


def test_bands_of_many_rows_are_drawn_on_demand(crowd: Leaderboard, priced: Leaderboard) -> None:
    def still(leaderboard: Leaderboard) -> float:
        spec = accuracy_chart(leaderboard.boards[0], row_styles(leaderboard.boards)).to_dict()
        area = next(each for each in spec["layer"] if each["mark"]["type"] == "area")
        conditions = area["encoding"]["fillOpacity"]["condition"]
        assert conditions[0]["value"] > 0, "the row under the pointer has its band"
        found: float = conditions[-1]["value"]
        return found

    assert still(priced) > 0
    assert still(crowd) == 0


def test_a_legend_of_many_rows_is_no_higher_than_its_chart(crowd: Leaderboard) -> None:
    spec = accuracy_figure(crowd).to_dict()
    color = next(each["encoding"]["color"] for each in spec["layer"] if "color" in each["encoding"])
    assert color["legend"]["columns"] == 2
    assert math.ceil(25 / 2) * 17 <= spec["height"]


def test_rows_of_one_pruner_share_its_color_and_differ_in_shape(make_record: MakeRecord) -> None:
    rows = ["magnitude[rounds=2]", "magnitude[rounds=3]", "magnitude"]
    styles = row_styles(build_leaderboard([make_record(row, 10) for row in rows]).boards)
    assert len(styles) == 3
    assert {style.color for style in styles.values()} == {mark_styles(["magnitude"])["magnitude"].color}
    assert len({style.shape for style in styles.values()}) == 3


def test_no_color_of_the_palette_stands_for_more_than_two_installed_pruners() -> None:
    colors = [style.color for style in mark_styles(Host.load().pruners.names()).values()]
    assert len(colors) > len(PALETTE)
    assert max(map(colors.count, colors)) == 2
