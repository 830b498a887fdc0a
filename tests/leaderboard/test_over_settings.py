"""Rows over settings: ranks, tests against scipy and published tables, bootstraps, profiles."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scipy import stats

from synflow_bench.leaderboard import build_boards, build_leaderboard, render
from synflow_bench.leaderboard.board import Interval, OverallRow
from synflow_bench.leaderboard.over_settings import (
    THRESHOLDS,
    bootstrap,
    critical_difference,
    friedman,
    groups,
    improvement,
    interquartile_means,
    mean_ranks,
    overall_ranking,
    overall_ranking_lacks,
)
from synflow_bench.leaderboard.tables import overall_section
from synflow_bench.suites import ModelSpec, Recipe, Setting

COMPRESSIONS = (2, 5, 10, 20, 50)


def setting(number: int) -> Setting:
    return Setting(dataset=f"data{number}", model=ModelSpec(name="fc"), recipe=Recipe(epochs=1))


@pytest.fixture
def settings(records_of: Any) -> Any:
    """Records of several settings, from the accuracy of each row in each."""

    def settings(heights: dict[str, tuple[float, ...]], seeds: int = 3) -> list[Any]:
        return [
            record
            for number in range(len(next(iter(heights.values()))))
            for record in records_of(
                {
                    row: {c: [height[number] + s / 1000 for s in range(seeds)] for c in COMPRESSIONS}
                    for row, height in heights.items()
                },
                setting=setting(number),
            )
        ]

    return settings


def test_the_overall_rank_is_the_mean_over_settings(settings: Any) -> None:
    heights = {"snip": (0.5, 0.6, 0.7), "random": (0.4, 0.7, 0.6), "synflow": (0.6, 0.5, 0.5)}
    overall = build_leaderboard(settings(heights)).overall
    expected = np.mean(
        [stats.rankdata(-np.array(column)) for column in zip(*heights.values(), strict=True)], axis=0
    )
    assert overall is not None
    assert {rank.label: rank.mean for rank in overall.ranks} == pytest.approx(
        dict(zip(heights, expected, strict=True))
    )
    assert all(rank.low <= rank.mean <= rank.high for rank in overall.ranks)
    assert overall.settings == ("data0 / fc", "data1 / fc", "data2 / fc")


def test_a_row_that_is_best_everywhere_has_rank_one_and_an_interval_of_no_width(settings: Any) -> None:
    overall = build_leaderboard(settings({"snip": (0.9, 0.9, 0.9), "random": (0.1, 0.1, 0.1)})).overall
    assert overall is not None
    assert [(rank.label, rank.mean, rank.low, rank.high) for rank in overall.ranks] == [
        ("snip", 1, 1, 1),
        ("random", 2, 2, 2),
    ]


def test_a_row_that_some_setting_lacks_is_left_out_by_name(settings: Any, records_of: Any) -> None:
    more = records_of({"grasp": dict.fromkeys(COMPRESSIONS, (0.5, 0.5, 0.5))}, setting=setting(0))
    overall = build_leaderboard([*settings({"snip": (0.9, 0.9), "random": (0.1, 0.1)}), *more]).overall
    assert overall is not None
    assert overall.left_out == ("grasp",)
    assert "not ranked in every setting: grasp" in render(
        build_leaderboard([*settings({"snip": (0.9, 0.9), "random": (0.1, 0.1)}), *more]), "markdown"
    )


@pytest.mark.parametrize(
    ("rows", "seeds"),
    [
        ({"snip": (0.5, 0.5)}, 3),
        ({"snip": (0.5,), "random": (0.4,)}, 3),
        ({"snip": (0.5, 0.5), "random": (0.4, 0.4)}, 2),
    ],
)
def test_too_few_rows_settings_or_seeds_have_no_overall_rank(settings: Any, rows: Any, seeds: int) -> None:
    assert build_leaderboard(settings(rows, seeds)).overall is None


@pytest.mark.parametrize("form", ["table", "markdown", "latex", "html"])
def test_prose_has_the_overall_ranks_with_their_definition(settings: Any, form: str) -> None:
    text = " ".join(
        render(build_leaderboard(settings({"snip": (0.9, 0.8), "random": (0.1, 0.9)})), form).split()
    )
    assert "Overall rank over 2 settings" in text
    assert "bootstrap" in text


def test_the_overall_ranks_name_their_settings_and_say_that_few_are_too_few(settings: Any) -> None:
    heights = {"snip": (0.9,) * 10, "random": (0.1,) * 10}
    few, enough = (
        overall_section(found)
        for number in (2, 10)
        if (found := build_leaderboard(settings({k: v[:number] for k, v in heights.items()})).overall)
    )
    assert few.notes[0] == "settings: data0 / fc; data1 / fc"
    assert few.notes[1].startswith("the bootstrap interval over 2 settings is too narrow")
    assert not any("too narrow" in note for note in enough.notes)


@pytest.mark.parametrize(
    ("rows", "shift", "said"),
    [
        ({"snip": (0.5, 0.5), "random": (0.4, 0.4)}, 0, None),
        ({"snip": (0.5,), "random": (0.4,)}, 0, "two settings with ranks, and there is 1"),
        ({"snip": (0.5, 0.5)}, 0, "two rows with ranks in every setting, and there is 1"),
        (
            {"snip": (0.5, 0.5), "random": (0.4, 0.4)},
            3,
            "a seed that all its rows have in common, which data0 / fc lacks",
        ),
    ],
)
def test_what_overall_ranks_lack_is_said(
    settings: Any, make_record: Any, rows: Any, shift: int, said: str | None
) -> None:
    """With a shift, random has other seeds than snip."""
    records = [
        make_record(
            each.cell.row,
            each.cell.compression,
            each.cell.seed + (shift if each.cell.row == "random" else 0),
            each.metrics.test_top1,
            setting=each.cell.setting,
        )
        for each in settings(rows)
    ]
    boards = build_boards(records)
    assert overall_ranking_lacks(boards) == said
    assert (overall_ranking(boards) is None) is bool(said)


def test_equal_aucs_share_their_ranks() -> None:
    table = np.array([[0.5], [0.7], [0.5], [0.1]])
    assert mean_ranks([table]).tolist() == stats.rankdata(-table[:, 0]).tolist()


def test_over_settings_of_one_seed_the_interval_is_the_percentile_bootstrap_of_scipy() -> None:
    draw = np.random.default_rng(0)
    tables = [draw.normal(0, 1, (3, 1)) for _ in range(25)]
    ranks = np.array([stats.rankdata(-table[:, 0]) for table in tables])
    low, high = bootstrap(tables, 20_000)
    for row in range(3):
        expected = stats.bootstrap(
            (ranks[:, row],), np.mean, method="percentile", n_resamples=20_000, random_state=1
        ).confidence_interval
        assert (low[row], high[row]) == pytest.approx((expected.low, expected.high), abs=1 / 25 + 1e-9)


def test_a_bootstrap_is_the_same_every_time() -> None:
    tables = [np.random.default_rng(number).normal(0, 1, (4, 3)) for number in range(5)]
    first, again = bootstrap(tables), bootstrap(tables)
    assert np.array_equal(first, again)


def test_intervals_over_forty_settings_hold_the_true_mean_rank_about_as_often_as_they_say() -> None:
    draw, trials, held = np.random.default_rng(3), 100, 0
    for _ in range(trials):
        tables = [draw.normal(0, 1, (2, 1)) for _ in range(40)]
        low, high = bootstrap(tables, 200)
        held += low[0] <= 1.5 <= high[0]
    assert 0.87 <= held / trials <= 0.99


@pytest.mark.parametrize(
    ("rows", "quantile"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (10, 3.164)]
)
def test_the_critical_difference_has_the_quantiles_of_demsar(rows: int, quantile: float) -> None:
    """Table 5a of Demsar 2006."""
    expected = quantile * np.sqrt(rows * (rows + 1) / (6 * 14))
    assert critical_difference(rows, 14) == pytest.approx(expected, rel=5e-4)


@pytest.mark.parametrize("rows", [2, 5, 19, 30])
def test_the_critical_difference_is_that_of_the_studentized_range_of_scipy(rows: int) -> None:
    quantile = stats.studentized_range.ppf(0.95, rows, np.inf) / np.sqrt(2)
    assert critical_difference(rows, 10) == pytest.approx(
        quantile * np.sqrt(rows * (rows + 1) / 60), rel=1e-4
    )


def test_the_friedman_test_agrees_with_scipy_where_its_approximation_holds() -> None:
    draw = np.random.default_rng(5)
    scores = draw.normal(0, 1, (40, 4)) + np.array([0, 0, 0.1, 0.35])
    found = friedman([setting[:, None] for setting in scores])
    assert found == pytest.approx(stats.friedmanchisquare(*scores.T).pvalue, abs=0.015)


def test_equal_rows_are_found_different_by_the_friedman_test_one_time_in_twenty() -> None:
    draw, trials = np.random.default_rng(6), 150
    found = sum(friedman([draw.normal(0, 1, (5, 1)) for _ in range(6)]) < 0.05 for _ in range(trials))
    assert found / trials == pytest.approx(0.05, abs=4 * (0.05 * 0.95 / trials) ** 0.5)


def test_groups_are_the_largest_runs_of_neighbors_within_the_critical_difference() -> None:
    rows = [
        OverallRow(label, mean, mean, mean, Interval(0, 0, 0), None, ())
        for label, mean in zip("abcde", (1.0, 2.0, 3.0, 5.0, 5.5), strict=True)
    ]
    assert groups(rows, 1.2) == (("a", "b"), ("b", "c"), ("d", "e"))
    assert groups(rows, 2.0) == (("a", "b", "c"), ("c", "d"), ("d", "e"))
    assert groups(rows, 0.1) == ()


def test_the_interquartile_mean_is_the_trimmed_mean_of_scipy() -> None:
    draw = np.random.default_rng(7)
    tables = [draw.normal(0, 1, (3, 4)) for _ in range(6)]
    found = interquartile_means(tables)
    for row in range(3):
        runs = np.concatenate([table[row] for table in tables])
        assert found[row].value == pytest.approx(stats.trim_mean(runs, 0.25))
        assert found[row].low <= found[row].value <= found[row].high


def test_the_probability_of_improvement_is_the_statistic_of_mann_and_whitney() -> None:
    draw = np.random.default_rng(8)
    tables = [draw.integers(0, 4, (2, 6)).astype(float) for _ in range(5)]
    expected = np.mean([stats.mannwhitneyu(table[0], table[1]).statistic / 36 for table in tables])
    found = improvement(tables, 0)
    assert found[1].value == pytest.approx(expected)
    assert found[1].low <= found[1].value <= found[1].high
    assert found[0].value == pytest.approx(0.5)


def test_six_settings_are_tested_and_fewer_are_refused_with_the_reason(settings: Any) -> None:
    heights = {"snip": (0.9,) * 6, "random": (0.1,) * 6, "synflow": (0.9, 0.8) * 3}
    few, enough = (
        build_leaderboard(settings({name: values[:number] for name, values in heights.items()}))
        for number in (5, 6)
    )
    assert few.overall
    assert few.overall.test is None
    assert "fewer than 6 settings (5)" in few.overall.untested
    assert "no Friedman or Nemenyi test: fewer than 6 settings" in " ".join(render(few, "markdown").split())
    assert enough.overall
    assert enough.overall.test
    assert enough.overall.test.friedman_p < 0.05
    assert enough.overall.test.critical_difference == pytest.approx(2.343 * np.sqrt(12 / 36), rel=1e-3)
    assert "critical difference of mean ranks 1.35 (Nemenyi)" in " ".join(render(enough, "table").split())


def test_programs_get_the_numbers_over_settings_too(settings: Any) -> None:
    page = build_leaderboard(settings({"snip": (0.9,) * 6, "random": (0.1,) * 6}))
    (line, *_), boards = page.to_dicts(), json.loads(render(page, "json"))
    assert line["overall_interquartile_mean"] is not None
    assert boards[0]["overall_test"]["groups"] == []
    found = {row["label"]: row["overall_rank"]["first_improves"] for row in boards[0]["rows"]}
    assert found == {"snip": None, "random": {"value": 1.0, "low": 1.0, "high": 1.0}}


def test_a_profile_is_the_share_of_runs_above_each_threshold(settings: Any) -> None:
    overall = build_leaderboard(settings({"snip": (0.5, 0.7), "random": (0.1, 0.1)})).overall
    assert overall is not None
    snip = next(row for row in overall.ranks if row.label == "snip")
    assert snip.profile[THRESHOLDS.index(0.6)] == 0.5
    assert (snip.profile[0], snip.profile[-1]) == (1.0, 0.0)
    assert list(snip.profile) == sorted(snip.profile, reverse=True)
