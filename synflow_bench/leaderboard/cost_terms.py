"""Costs and budgets, as numbers of a board."""

from __future__ import annotations

from synflow_bench.leaderboard.costs import (
    amount,
    is_partial,
    point_is_partial,
    recorded_cost,
    row_budgets,
    row_cost,
    row_is_partial,
)
from synflow_bench.leaderboard.formatting import BLANK
from synflow_bench.leaderboard.metric import AnyResult, Metric, Position, Term
from synflow_bench.records import printable

_LEFT_OUT = "≥ where a record, made before costs were counted, leaves out its pruning"


def _in_record(record: AnyResult) -> str:
    if record.cost and record.cost.not_counted:
        return printable(record.cost.not_counted)
    return amount(recorded_cost(record), partial=is_partial(record))


def _cost(at: Position) -> str:
    return amount(at.point.means["cost"], partial=point_is_partial(at.point))


def _row_cost(at: Position) -> str:
    return amount(row_cost(at.board, at.row), partial=row_is_partial(at.board, at.row))


def _budget(at: Position) -> str:
    budgets = row_budgets(at.board)
    return str(budgets.get(at.row.label, BLANK)) if len({*budgets.values()}) > 1 else ""


POINT_COSTS: tuple[Metric, ...] = (
    Metric(
        "cost",
        "Multiply-accumulates of all trainings and prunings of a cell, over those of one dense training by "
        "the same recipe; mean over seeds. A training step costs three forward passes of the weights that "
        "the speedup counts: its own, and two for the derivatives of every product. Where gradients of "
        "removed weights are computed too, that pass costs as much as in the dense network (Evci et al. "
        "2020, Rigging the lottery, arXiv 1911.11134). Every level of iterative pruning and every training "
        "before a pruning counts; so does every forward and backward pass of a pruning, in the dense "
        "network. Evaluations, biases and products of activations do not count. It is theoretical, not "
        "seconds: masks simulate sparsity. Absent where a layer cannot be counted, which the record names. "
        f"Marked {_LEFT_OUT}: it is that of training alone, by the speedup.",
        legend="theoretical: multiply-accumulates of all trainings and prunings, over those of one dense "
        f"training; {_LEFT_OUT}",
        key="cost",
        parts=("mean",),
        table="details",
        of_record=recorded_cost,
        of_board=lambda at: at.point.means["cost"],
        cell=_cost,
        record_text=_in_record,
    ),
    Metric(
        "cost without pruning",
        "True if the cost at a compression is computed from masks, because a record was made before costs "
        "were counted: that of pruning is left out, which is little for most methods that score a few "
        "examples.",
        key="cost_without_pruning",
        of_board=lambda at: point_is_partial(at.point),
    ),
)
ROW_COSTS: tuple[Term, ...] = (
    Metric(
        "AUC cost",
        "The cost of a row averaged over log compression, at the compressions of the AUC: the price of the "
        "AUC, in dense trainings per compression.",
        legend=f"mean cost over the compressions of the AUC, in dense trainings; {_LEFT_OUT}",
        key="auc_cost",
        table="accuracy",
        of_board=lambda at: row_cost(at.board, at.row),
        cell=_row_cost,
    ),
    Metric(
        "budget",
        "The smallest of 1, 2, 5, 10, 20, 50 and so on dense trainings that pays for the AUC cost of a row. "
        "Rows are compared at equal cost within a budget: all rows that cost at most as much, or up to 1 % "
        "more, compete, and "
        "the sentence below the board names the best of them, with its lead over the second and an "
        "interval that holds for all pairs of rows of the board together. Charts at equal cost draw the "
        "points that cost at most the budget. Nothing is interpolated: no row is given a cost or an "
        "accuracy that it did not have.",
        legend="the smallest of 1, 2, 5, 10, 20 ... dense trainings that pays for the AUC cost",
        key="budget",
        table="accuracy",
        of_board=lambda at: row_budgets(at.board).get(at.row.label),
        cell=_budget,
    ),
)
