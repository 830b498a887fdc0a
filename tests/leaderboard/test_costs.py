"""Costs on boards: means, budgets, records of before, and who is best within each budget."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import mean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synflow_bench.leaderboard import Board, build_boards, build_leaderboard, explain, render
from synflow_bench.leaderboard.costs import (
    amount,
    budget_of,
    budget_sentence,
    is_partial,
    point_budgets,
    recorded_cost,
    row_budgets,
    row_cost,
    winners,
)
from synflow_bench.leaderboard.definitions import METRICS
from synflow_bench.leaderboard.describe import notes
from synflow_bench.records import Cost, Record, Result
from synflow_bench.suites import Multishot, Singleshot

MakeRecord = Callable[..., Record]
COMPRESSIONS = (2, 5, 10, 20, 50)
HEIGHTS = {"snip": 0.80, "synflow": 0.70, "random": 0.60}
PRICES = {"snip": 4.0, "synflow": 0.5, "random": 0.25}


@pytest.fixture
def make_priced(make_record: MakeRecord) -> Callable[..., Board]:
    """A board of rows with these mean accuracies and costs at all compressions."""

    def make(
        heights: dict[str, float] = HEIGHTS,
        prices: dict[str, float | None] = PRICES,  # type: ignore[assignment]
        seeds: int = 5,
        noise: float = 0.001,
        compressions: tuple[float, ...] = COMPRESSIONS,
    ) -> Board:
        def deviations(row: str) -> list[float]:
            drawn = [math.sin(seed * len(row)) for seed in range(seeds)]
            return [noise * (each - mean(drawn)) for each in drawn]

        records = [
            make_record(row, at, seed=seed, top1=height + deviation, cost=prices[row])
            for row, height in heights.items()
            for at in ([1.0] if row == "dense" else compressions)
            for seed, deviation in enumerate(deviations(row))
        ]
        (board,) = build_boards(records)
        return board

    return make


def sentence(board: Board) -> str:
    return "".join(budget_sentence(board))


def test_the_cost_of_a_point_is_the_mean_over_seeds_and_of_a_row_the_mean_over_log_compression(
    make_record: MakeRecord,
) -> None:
    records = [make_record("snip", at, seed=seed, cost=at + seed) for at in (1.5, 3, 12) for seed in (0, 1)]
    (board,) = build_boards(records)
    (row,) = board.rows
    assert [point.means["cost"] for point in row.points] == [2.0, 3.5, 12.5]
    area = math.log(2) * (2.0 + 3.5) / 2 + math.log(4) * (3.5 + 12.5) / 2
    assert row_cost(board, row) == pytest.approx(area / math.log(8))


@given(st.floats(0, 1e6))
def test_a_budget_is_the_smallest_of_1_2_5_and_their_tens_that_pays_within_1_percent(cost: float) -> None:
    found = budget_of(cost)
    steps = sorted(step * 10**decade for step in (1, 2, 5) for decade in range(8))
    assert found == min(step for step in steps if 1.01 * step >= cost)


def test_rows_are_compared_within_budgets(make_priced: Any) -> None:
    board = make_priced()
    assert row_budgets(board) == {"snip": 5, "synflow": 1, "random": 1}
    assert point_budgets(board) == [1, 5]
    cheap, any_price = winners(board)
    assert (cheap.budget, cheap.label, cheap.second) == (1, "synflow", "random")
    assert (any_price.budget, any_price.label, any_price.second) == (5, "snip", "synflow")
    assert cheap.mean == pytest.approx(0.70, abs=1e-3)


def test_the_lead_has_the_interval_that_the_board_gives_for_this_pair(make_priced: Any) -> None:
    """The best of the whole board and its second are compared in the AUC column too."""
    board = make_priced()
    second = next(row for row in board.rows if row.label == "synflow")
    ahead = winners(board)[-1].ahead
    assert ahead is not None
    assert second.auc_to_best is not None
    assert ahead.kind == "simultaneous"
    assert ahead.mean == pytest.approx(-second.auc_to_best.mean)
    assert ahead.half_width == pytest.approx(second.auc_to_best.half_width)


def test_the_sentence_says_who_wins_at_which_budget_and_by_how_much(make_priced: Any) -> None:
    found = sentence(make_priced())
    assert found.startswith(
        "within 1 dense training synflow has the best AUC (70.0 %), ahead of random by 10.0 ±"
    )
    assert "; within 5 dense trainings snip (80.0 %), ahead of synflow by 10.0 ±" in found
    assert "undecided" not in found


def test_with_too_few_seeds_for_an_interval_the_lead_is_that_of_the_means(make_priced: Any) -> None:
    said = sentence(make_priced({"snip": 0.8, "synflow": 0.7}, {"snip": 0.5, "synflow": 0.5}, seeds=2))
    assert said.endswith("ahead of synflow by 10.0 points (too few seeds for an interval)")


def test_one_seed_is_said_to_have_no_interval(make_priced: Any) -> None:
    found = sentence(make_priced(seeds=1))
    assert found.startswith(
        "within 1 dense training synflow has the best AUC (70.0 %), ahead of random by 10.0"
    )
    assert found.count("points (one seed has no interval)") == 2
    assert sentence(make_priced({"snip": 0.8}, seeds=1)) == "", "one row has nothing to be compared with"


def test_with_one_seed_rows_are_compared_at_the_seed_of_most_rows(make_record: MakeRecord) -> None:
    seeds = {"snip": 1, "synflow": 1, "random": 2}
    records = [make_record(row, 10, seed=seed, top1=0.7, cost=0.5) for row, seed in seeds.items()]
    (board,) = build_boards(records)
    assert {winners(board)[0].label, winners(board)[0].second} == {"snip", "synflow"}
    assert sentence(board).endswith("; not compared, with other seeds or fewer: random")
    (board,) = build_boards(records[1:])
    assert sentence(board) == "", "no two rows share a seed"


def test_a_row_at_chance_is_not_named_as_the_best(make_priced: Any) -> None:
    guesses = {"snip": 0.8, "synflow": 0.101, "random": 0.1}
    found = sentence(make_priced(guesses))
    assert found.startswith(
        "within 1 dense training the best AUC is at chance; within 5 dense trainings snip "
    )
    assert "snip has the best AUC (80.0 %), ahead of synflow by" in found
    half = make_priced({**guesses, "synflow": 0.107}, noise=0.005, seeds=2, compressions=(10,))
    assert "the best accuracy at compression 10 is at chance" in sentence(half), "also in half of the runs"
    nothing = sentence(make_priced({"synflow": 0.1, "random": 0.1}))
    assert nothing == "within 1 dense training the best AUC is at chance"


def test_the_sentence_says_what_the_seeds_cannot_tell(make_priced: Any) -> None:
    assert sentence(make_priced(noise=0.1)).count("(undecided)") == 2
    close = {"snip": 0.7003, "synflow": 0.70}
    assert "points (equivalent)" in sentence(make_priced(close, noise=1e-4))
    assert sentence(make_priced(seeds=2)).count("too few seeds") == 2
    assert "synflow has the best AUC (70.0 %), as the only row" in sentence(
        make_priced(prices={**PRICES, "random": 7.0})
    )


def test_a_larger_budget_that_buys_nothing_is_said_once(make_priced: Any) -> None:
    found = sentence(make_priced({"snip": 0.5, "synflow": 0.7, "random": 0.6}))
    assert found.endswith("; no row that costs up to 5 is better")
    assert found.count("within") == 1


def test_of_equal_rows_the_cheapest_is_named_and_a_dearer_one_is_no_better(make_priced: Any) -> None:
    board = make_priced(dict.fromkeys(HEIGHTS, 0.7), {**PRICES, "random": 0.75}, noise=0.0)
    assert [(each.label, each.second, each.lead) for each in winners(board)] == [
        ("synflow", "random", 0.0),
        ("synflow", "random", 0.0),
    ]
    assert "synflow has the best AUC (70.0 %), equal to random, 0.0 " in sentence(board)
    assert sentence(board).endswith("; no row that costs up to 5 is better")
    single = sentence(make_priced({"snip": 0.7, "synflow": 0.7}, {"snip": 0.1, "synflow": 0.2}, seeds=1))
    assert single.endswith(
        "snip has the best AUC (70.0 %), equal to synflow, 0.0 points (one seed has no interval)"
    )


def test_a_row_of_unknown_cost_is_said_not_to_be_compared(make_record: MakeRecord) -> None:
    unknown = of(make_record("snip", 10), setting={"protocol": Multishot(levels=3)})
    (board,) = build_boards([unknown, *(make_record(row, 10, cost=0.5) for row in ("synflow", "random"))])
    assert sentence(board).endswith("; not compared, without a known cost: snip@multishot[levels=3]")


def test_with_one_compression_its_accuracies_are_compared(make_priced: Any) -> None:
    found = sentence(make_priced(compressions=(10,)))
    assert "synflow has the best accuracy at compression 10 (70.0 %)" in found


def test_rows_without_a_known_cost_are_in_no_budget(make_priced: Any) -> None:
    board = make_priced(prices={**PRICES, "snip": None})
    assert "snip" in row_budgets(board), "one-shot pruning tells it by its speedup"
    assert sentence(make_priced({"dense": 0.9}, {"dense": 1.0})) == ""


def of(record: Record, **changes: Any) -> Record:
    setting = record.cell.setting.model_copy(update=changes.pop("setting", {}))
    cell = record.cell.model_copy(update={"setting": setting})
    return record.model_copy(update={"cell": cell, **changes})


def test_a_record_of_before_costs_its_training_by_the_speedup(make_record: MakeRecord) -> None:
    old = make_record("snip", 10, theoretical_speedup=8.0)
    assert (recorded_cost(old), is_partial(old)) == (1 / 8, True)
    later = of(old, setting={"protocol": Singleshot(pre_epochs=2)})
    assert recorded_cost(later) == pytest.approx((2 + 5 / 8) / 5)
    assert (recorded_cost(make_record("dense")), is_partial(make_record("dense"))) == (1, False)
    severed = make_record("snip", 10, theoretical_speedup=None, collapsed_layers=("fc1",))
    assert (recorded_cost(severed), is_partial(severed)) == (0, True)
    new = make_record("snip", 10, cost=0.3)
    assert (recorded_cost(new), is_partial(new)) == (0.3, False)


def test_what_the_record_of_before_does_not_tell_is_blank(make_record: MakeRecord) -> None:
    levels = of(make_record("snip", 10), setting={"protocol": Multishot(levels=3)})
    assert (recorded_cost(levels), is_partial(levels)) == (None, False)
    assert recorded_cost(make_record("snip", status="failed")) is None


def test_a_cost_that_cannot_be_counted_is_blank_and_its_page_says_which_layer(
    make_record: MakeRecord,
) -> None:
    reason = "cannot count the multiply-accumulates of layer 'mix'"
    record = make_record("snip", 10).model_copy(update={"cost": Cost(not_counted=reason)})
    assert recorded_cost(record) is None
    assert not is_partial(record)
    assert METRICS["cost"].in_record(record) == reason
    assert METRICS["cost"].in_record(Result.of(record)) == reason


def test_tables_mark_what_leaves_out_the_pruning(make_record: MakeRecord) -> None:
    records = [make_record("snip", at, theoretical_speedup=float(at)) for at in (2, 4)]
    records += [make_record("synflow", at, cost=1 / at) for at in (2, 4)]
    text = render(build_leaderboard(records), "markdown")
    assert "≥0.25" in text
    assert "≥0.50" in text
    lines = build_leaderboard(records).to_dicts()
    found = [(line["pruner"], line["cost_mean"], line["cost_without_pruning"]) for line in lines]
    assert sorted(found) == [
        ("snip", 0.25, True),
        ("snip", 0.5, True),
        ("synflow", 0.25, False),
        ("synflow", 0.5, False),
    ]


@pytest.mark.parametrize("form", ["table", "markdown", "html", "latex"])
def test_a_board_says_which_costs_are_not_counted_and_names_the_layer(
    make_record: MakeRecord, form: str
) -> None:
    reason = "cannot count the multiply-accumulates of layer 'mix'"
    records = [make_record(row, 10) for row in ("dense", "snip", "synflow")]
    uncounted = [record.model_copy(update={"cost": Cost(not_counted=reason)}) for record in records]
    said = render(build_leaderboard(uncounted), form).replace("&#39;", "'")
    assert " ".join(said.split()).count(f"no cost: {reason}") == 1
    (board,) = build_boards([*uncounted[:2], make_record("synflow", 10, cost=0.1)])
    assert f"no cost of dense, snip: {reason}" in notes(board)


@given(st.floats(0, 1e5))
def test_a_cost_as_text_is_within_two_digits(cost: float) -> None:
    assert float(amount(cost)) == pytest.approx(cost, rel=0.055)
    assert amount(cost, partial=True) == f"≥{amount(cost)}"


def test_every_cost_has_its_definition_under_its_name() -> None:
    assert "three forward passes" in explain("cost")
    assert "equal cost within a budget" in explain("budget")
    assert explain("AUC cost") == explain("auc_cost")
