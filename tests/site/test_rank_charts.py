"""Charts of ranks: what they draw is what the leaderboard holds, and no line crosses another."""

from __future__ import annotations

from typing import Any

import pytest
import vl_convert

from synflow_bench.charts import mark_styles
from synflow_bench.errors import UnknownNameError, UsageError
from synflow_bench.leaderboard import Leaderboard, build_leaderboard
from synflow_bench.leaderboard.board import Interval, OverallRow, RankTest
from synflow_bench.leaderboard.over_settings import THRESHOLDS
from synflow_bench.leaderboard.over_settings import groups as groups_of
from synflow_bench.site.rank_charts import difference_chart, profile_chart, range_values


def ranked(number: int, name: str = "row") -> list[OverallRow]:
    """Rows whose mean ranks are 1, 2 and so on."""
    any_mean = Interval(0.5, 0.4, 0.6)
    return [
        OverallRow(f"{name}{place}", place, place, place, any_mean, None, (1.0,) * 50 + (0.0,) * 51)
        for place in range(1, number + 1)
    ]


def values_with(chart: Any, name: str) -> list[dict[str, Any]]:
    """The first values of a chart that have this field."""
    found = chart.to_dict()
    data = [*found.get("datasets", {}).values()]
    data += [each["data"]["values"] for each in [found, *found["layer"]] if "values" in each.get("data", {})]
    return next(values for values in data if values and name in values[0])


@pytest.mark.parametrize("number", [2, 3, 8, 25])
def test_no_line_to_a_name_crosses_another(number: int) -> None:
    rows = ranked(number)
    test = RankTest(0.01, 2.5, groups_of(rows, 2.5))
    chart = difference_chart(rows, test, mark_styles(row.label for row in rows), 500)
    placed = values_with(chart, "side")
    assert len(placed) == number
    for one in placed:
        for other in placed:
            # The stem of `other` lies between the stem of `one` and the name of `one`.
            left = one["side"] == "left" and other["rank"] < one["rank"]
            right = one["side"] == "right" and other["rank"] > one["rank"]
            if left or right:
                assert other["level"] < one["level"]


@pytest.mark.parametrize("difference", [0.5, 2.5, 100.0])
def test_every_bar_joins_rows_whose_ranks_differ_by_no_more_than_the_critical_difference(
    difference: float,
) -> None:
    rows = ranked(8)
    test = RankTest(0.01, difference, groups_of(rows, difference))
    chart = difference_chart(rows, test, mark_styles(row.label for row in rows), 500)
    drawn = vl_convert.vegalite_to_svg(chart.to_dict())
    assert f"critical difference {difference:.2f}" in drawn
    assert all(f">{row.label}</text>" in drawn for row in rows)
    if difference < 1:
        assert test.groups == ()
        return
    bars = values_with(chart, "text")
    assert len(bars) == len(test.groups)
    assert all(0 < bar["high"] - bar["low"] <= difference for bar in bars)


def test_a_name_of_thirty_letters_is_drawn_whole() -> None:
    rows = ranked(4, "a-pruner-of-a-name-that-long-")
    chart = difference_chart(rows, RankTest(0.01, 1.0, ()), mark_styles(row.label for row in rows), 500)
    drawn = vl_convert.vegalite_to_svg(chart.to_dict())
    assert all(f">{row.label}</text>" in drawn for row in rows)


def test_a_profile_keeps_its_corners(six_settings: Leaderboard) -> None:
    assert six_settings.overall
    chart = profile_chart(six_settings.overall.ranks, mark_styles(["synflow", "snip", "random"]), 500)
    values = values_with(chart, "share")
    for row in six_settings.overall.ranks:
        points = [(value["auc"], value["share"] / 100) for value in values if value["row"] == row.label]
        for threshold, share in zip(THRESHOLDS, row.profile, strict=True):
            at = 100 * threshold
            before = max(point for point in points if point[0] <= at + 1e-9)
            after = min(point for point in points if point[0] >= at - 1e-9)
            assert before[1] == after[1] == pytest.approx(share), "a straight line between corners is level"


def test_ranges_hold_their_ranks(six_settings: Leaderboard) -> None:
    values = range_values(six_settings.boards[0])
    assert {value["row"] for value in values} == {"synflow", "snip", "random"}
    assert all(value["low"] <= value["rank"] <= value["high"] for value in values)


def test_a_preliminary_board_has_no_chart_of_ranks(make_record: Any) -> None:
    with pytest.raises(UsageError, match="preliminary"):
        build_leaderboard([make_record()]).chart(kind="ranks")


@pytest.mark.parametrize("kind", ["critical differences", "profiles"])
def test_a_chart_over_settings_needs_settings(make_record: Any, kind: str) -> None:
    with pytest.raises(UsageError, match="two settings with ranks"):
        build_leaderboard([make_record()]).chart(kind=kind)


def test_a_diagram_of_two_settings_is_refused_with_the_reason(
    records: Any, six_settings: Leaderboard
) -> None:
    with pytest.raises(UsageError, match="fewer than 6 settings"):
        build_leaderboard(records).chart(kind="critical differences")
    assert "title" in six_settings.chart(kind="critical differences").to_dict()


@pytest.mark.parametrize("kind", ["accuracy", "ranks", "profiles", "critical differences"])
def test_every_kind_of_chart_is_drawn(six_settings: Leaderboard, kind: str) -> None:
    drawn = vl_convert.vegalite_to_svg(six_settings.chart(kind=kind).to_dict())
    assert {name for name in ("synflow", "snip", "random") if f">{name}</text>" in drawn} == {
        "synflow",
        "snip",
        "random",
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"heading": 3}, "heading=3"),
        ({"heading": ["digits"]}, r"heading=\['digits'\]"),
        ({"kind": "rank"}, "'rank'"),
        ({"kind": None}, "None"),
        ({"axis": 1}, "unknown axis 1"),
        ({"kind": "ranks", "axis": "effective"}, "axis"),
        ({"kind": "profiles", "heading": "digits-0 / fc"}, "over all boards"),
    ],
)
def test_a_wrong_choice_is_named_in_one_line(
    six_settings: Leaderboard, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said) as raised:
        six_settings.chart(**options)
    assert "\n" not in str(raised.value)
    assert "--" not in str(raised.value)
    assert not isinstance(raised.value, UnknownNameError)
