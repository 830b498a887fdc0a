"""Comparisons paired by seed: with the best, a baseline and ablations; and ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

from synflow_bench.errors import UnknownNameError, UsageError
from synflow_bench.leaderboard import (
    Board,
    BoardRow,
    Estimate,
    Leaderboard,
    build_boards,
    build_leaderboard,
    render,
)
from synflow_bench.leaderboard.compare import (
    bootstrap,
    mean_ranks,
    overall_ranking,
    overall_ranking_lacks,
)
from synflow_bench.leaderboard.tables import overall_section
from synflow_bench.suites import ModelSpec, Recipe, Revisions, Setting

COMPRESSIONS = (2, 5, 10, 20, 50)
ONE, OTHER = (0.81, 0.84, 0.86), (0.79, 0.80, 0.85)
TABLE = {"dense": {1: (0.95, 0.96, 0.97)}, "snip": {2: ONE, 10: ONE}, "random": {2: OTHER, 10: OTHER}}


def row(board: Board, label: str) -> BoardRow:
    return next(row for row in board.rows if row.label == label)


def interval_of_scipy(one: Any, other: Any) -> tuple[float, float]:
    found = stats.ttest_rel(one, other).confidence_interval(0.95)
    return float(found.low), float(found.high)


def interval(estimate: Estimate | None) -> tuple[float, float]:
    assert estimate is not None
    assert estimate.half_width is not None
    return estimate.mean - estimate.half_width, estimate.mean + estimate.half_width


def test_the_difference_from_the_best_has_the_paired_interval_of_scipy(make_board: Any) -> None:
    random, snip = (row(make_board(TABLE), label).points[0] for label in ("random", "snip"))
    assert interval(random.to_best) == pytest.approx(interval_of_scipy(OTHER, ONE))
    assert snip.standing == "best"
    assert snip.to_best is None


def test_aucs_are_compared_as_accuracies_are(make_board: Any) -> None:
    board = make_board(TABLE)
    assert row(board, "snip").auc_standing == "best"
    assert interval(row(board, "random").auc_to_best) == pytest.approx(interval_of_scipy(OTHER, ONE))


def test_a_baseline_adds_the_difference_from_it_everywhere(records_of: Any) -> None:
    (board,) = build_leaderboard(records_of(TABLE), baseline="random").boards
    assert board.baseline == "random"
    snip = row(board, "snip")
    assert interval(snip.points[1].to_baseline) == pytest.approx(interval_of_scipy(ONE, OTHER))
    assert interval(snip.auc_to_baseline) == pytest.approx(interval_of_scipy(ONE, OTHER))
    assert row(board, "random").points[0].to_baseline is None
    assert row(board, "dense").points[0].to_baseline is None


def test_the_dense_network_is_compared_at_its_only_compression(records_of: Any) -> None:
    (board,) = build_leaderboard(records_of(TABLE), baseline="dense").boards
    found = interval(row(board, "snip").points[1].to_baseline)
    assert found == pytest.approx(interval_of_scipy(ONE, TABLE["dense"][1]))


def test_a_board_without_the_baseline_stays_as_it_is(records_of: Any, make_record: Any) -> None:
    elsewhere = make_record("grasp", setting=make_record().cell.setting.model_copy(update={"root_seed": 1}))
    boards = build_leaderboard([*records_of(TABLE), elsewhere], baseline="snip").boards
    assert sorted(str(board.baseline) for board in boards) == ["None", "snip"]


def test_a_baseline_that_no_board_has_is_an_error(records_of: Any, make_record: Any) -> None:
    with pytest.raises(UnknownNameError, match="unknown recorded row 'snp'; did you mean 'snip'"):
        build_leaderboard(records_of(TABLE), baseline="snp")
    variants = [make_record(f"synflow[rounds={rounds}]") for rounds in (1, 10)]
    with pytest.raises(UsageError, match=r"'synflow' has several rows .* 'synflow\[rounds=1\]'"):
        build_leaderboard(variants, baseline="synflow")


@pytest.mark.parametrize("form", ["table", "markdown", "latex", "html"])
def test_prose_says_which_row_is_the_baseline(records_of: Any, form: str) -> None:
    page = build_leaderboard(records_of(TABLE), baseline="random")
    assert "baseline: random" in render(page, form)
    assert "to baseline" in " ".join(render(page, form).split())


def test_an_ablation_delta_is_the_plain_row_minus_its_ablation_paired_by_seed(
    records_of: Any, make_board: Any
) -> None:
    spoilt = records_of({"snip": {2: OTHER, 10: OTHER}}, ablation="shuffle")
    board = make_board(TABLE, spoilt)
    delta = row(board, "snip").points[0].deltas["shuffle"]
    assert interval(delta) == pytest.approx(interval_of_scipy(ONE, OTHER))
    assert interval(row(board, "snip").auc_deltas["shuffle"]) == pytest.approx(interval_of_scipy(ONE, OTHER))
    assert row(board, "random").points[0].deltas == {}


def test_ablation_deltas_are_columns_where_there_are_ablations_and_absent_elsewhere(
    records_of: Any, make_board: Any
) -> None:
    spoilt = records_of({"snip": {2: OTHER, 10: OTHER}}, ablation="reinit")
    assert (
        "reinit delta"
        in render(Leaderboard((make_board(TABLE, spoilt),)), "markdown").split("Definitions")[0]
    )
    assert "delta" not in render(Leaderboard((make_board(TABLE),)), "markdown")


def test_ablations_come_in_one_order_whatever_was_recorded_first(make_record: Any, make_board: Any) -> None:
    names = ("random-inputs", "invert", "shuffle", "random-labels", "reinit")
    board = make_board(TABLE, [make_record("snip", 2, ablation=name) for name in names])
    assert board.ablations == ("shuffle", "reinit", "invert", "random-labels", "random-inputs")


def test_an_ablation_of_an_older_revision_has_no_delta(make_record: Any) -> None:
    records = [make_record(revisions=Revisions(pruner=2)), make_record(ablation="shuffle")]
    (board,) = build_leaderboard(records).boards
    assert board.ablations == ()
    assert sorted(row.label for row in board.rows) == ["snip", "snip (shuffle)"]


def test_paired_intervals_hold_the_true_difference_as_often_as_they_say(make_board: Any) -> None:
    draw, trials, held = np.random.default_rng(4), 150, 0
    for _ in range(trials):
        shared = draw.normal(0.6, 0.1, 5)
        one, other = (np.clip(shared + shift + draw.normal(0, 0.01, 5), 0, 1) for shift in (0.05, 0))
        board = make_board({"snip": {10: one.tolist()}, "random": {10: other.tolist()}})
        to_best = next(entry.to_best for row in board.rows for entry in row.points if entry.to_best)
        low, high = interval(to_best)
        held += low <= -0.05 <= high
    assert held / trials == pytest.approx(0.95, abs=4 * (0.95 * 0.05 / trials) ** 0.5)


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


def test_the_auc_is_that_of_scipy(make_board: Any) -> None:
    curve = dict(zip(COMPRESSIONS, (0.9, 0.85, 0.8, 0.6, 0.3), strict=True))
    (row,) = make_board({"snip": {c: (a,) for c, a in curve.items()}}).rows
    area = integrate.trapezoid(list(curve.values()), np.log(COMPRESSIONS)) / np.log(50 / 2)
    assert row.auc.mean == pytest.approx(area)


def test_a_rank_is_one_and_the_number_of_larger_aucs(make_board: Any) -> None:
    assert {row.label: row.rank for row in make_board().rows} == {
        "dense": None, "synflow": 1, "random": 2, "snip": 3,
    }  # fmt: skip


def test_a_preliminary_board_has_no_ranks_and_no_column_for_them(make_board: Any) -> None:
    board = make_board({name: dict.fromkeys(COMPRESSIONS, (0.5, 0.6)) for name in ("snip", "random")})
    assert board.is_preliminary
    assert {row.rank for row in board.rows} == {None}
    assert (
        "rank"
        not in render(Leaderboard((board,)), "markdown").split("Final-epoch")[1].split("Definitions")[0]
    )


def test_a_row_of_two_seeds_is_not_ranked_among_those_of_three(make_board: Any) -> None:
    table = {
        "snip": dict.fromkeys(COMPRESSIONS, (0.5, 0.6, 0.7)),
        "random": dict.fromkeys(COMPRESSIONS, (0.9, 0.9)),
    }
    assert {row.label: row.rank for row in make_board(table).rows} == {"snip": 1, "random": None}


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
    assert len(enough.notes) == 1


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
