"""Costs of rows, and the best row within each budget.

Costs are in units of one dense training. A record that was made before costs were counted has that of its
trainings, where its masks tell it, without that of its prunings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from synflow_bench.errors import count
from synflow_bench.leaderboard.board import Board, BoardRow, CurvePoint
from synflow_bench.leaderboard.formatting import BLANK, compression, difference, percent
from synflow_bench.leaderboard.simultaneous import ERROR
from synflow_bench.leaderboard.standings import ComparedColumn, verdict
from synflow_bench.leaderboard.statistics import Estimate, area_under_curve, mean
from synflow_bench.records import Record, Result

_STEPS = (1, 2, 5)
_DIGITS = 12
"""Means that are equal to so many digits are equal."""
TOLERANCE = 1.01
"""The share of a budget that a row may cost: scores of a few examples do not take it to the next one."""


def recorded_cost(record: Record | Result) -> float | None:
    """Return the cost of a cell; None if it is not known."""
    return record.cost.total if record.cost else _of_masks(record)


def is_partial(record: Record | Result) -> bool:
    """Return True if the cost of a cell is computed from its masks, without its prunings."""
    return record.cost is None and not record.cell.is_dense and _of_masks(record) is not None


def _of_masks(record: Record | Result) -> float | None:
    """Return the cost of training by the theoretical speedup, which is known of the last masks only."""
    metrics, setting = record.metrics, record.cell.setting
    epochs = setting.recipe.epochs
    if metrics is None or not epochs:
        return None
    if record.cell.is_dense and setting.protocol.step is None:
        return sum(setting.protocol.trainings(epochs)) / epochs
    if setting.protocol.name != "singleshot":
        return None  # the masks of earlier levels are not recorded
    # Without a path from input to output no weight can act.
    share = 0.0 if metrics.theoretical_speedup is None else 1 / metrics.theoretical_speedup
    *before, last = setting.protocol.trainings(epochs)
    return (sum(before) + last * share) / epochs


def point_is_partial(point: CurvePoint) -> bool:
    """Return True if the cost at a point leaves out that of some pruning."""
    return any(is_partial(result) for result in point.results)


def pays(budget: float, cost: float) -> bool:
    """Return True if a cost is within a budget, or at most 1 % above it."""
    return cost <= TOLERANCE * budget


def budget_of(cost: float | None) -> int | None:
    """Return the smallest budget that pays for a cost: 1, 2, 5, 10, 20, 50 and so on dense trainings.

    Example:
        >>> [budget_of(cost) for cost in (0.1, 1.001, 1.1, 7.5, 10.2)]
        [1, 1, 2, 10, 20]
    """
    if cost is None:
        return None
    decade = 1
    while True:
        for step in _STEPS:
            if pays(step * decade, cost):
                return step * decade
        decade *= 10


def row_cost(board: Board, row: BoardRow) -> float | None:
    """Return the mean cost of a row over log compression, as the AUC is a mean accuracy; None if unknown."""
    grid = board.auc_compressions
    points = [point for value in grid if (point := row.at(value))]
    costs = [cost for point in points if (cost := point.means.get("cost")) is not None]
    if not grid or len(costs) < len(grid):
        return None
    return area_under_curve(grid, costs) if len(grid) > 1 else costs[0]


def row_is_partial(board: Board, row: BoardRow) -> bool:
    """Return True if the cost of a row leaves out that of some pruning."""
    points = (row.at(value) for value in board.auc_compressions)
    return any(point_is_partial(point) for point in points if point)


def row_budgets(board: Board) -> dict[str, int]:
    """Return the budget of every competing row whose cost is known, by label."""
    found = {label: budget_of(cost) for label, cost in _row_costs(board).items()}
    return {label: budget for label, budget in found.items() if budget is not None}


def _row_costs(board: Board) -> dict[str, float]:
    """Return the cost of every competing row where it is known, by label."""
    found = {row.label: row_cost(board, row) for row in board.rows if row.competes}
    return {label: cost for label, cost in found.items() if cost is not None}


def point_budgets(board: Board) -> list[int]:
    """Return the budgets of all points of competing rows, in ascending order."""
    found = {
        budget_of(point.means.get("cost"))
        for row in board.rows
        if row.competes
        for point in row.points
        if point.top1
    }
    return sorted(budget for budget in found if budget is not None)


@dataclass(frozen=True)
class Winner:
    """The best row within a budget.

    Attributes:
        budget: The budget in dense trainings.
        label: The row with the largest mean among those within it; of equal ones the cheapest.
        mean: Its mean, a share.
        second: The row with the next largest mean; None where there is no other.
        lead: The mean of the winner minus that of the second, a share; zero where there is no other, or where
            they are equal.
        ahead: The winner minus the second, with an interval that holds for all pairs of the board together;
            None where too few seeds are common.
        seeds: The number of seeds that were compared.
        at_chance: True if the winner does no better than guessing.
    """

    budget: int
    label: str
    mean: float
    second: str | None
    lead: float
    ahead: Estimate | None
    seeds: int
    at_chance: bool


def winners(board: Board) -> list[Winner]:
    """Return the best row of every budget that some row needs, over the seeds that most rows share."""
    column = _column(board)
    seeds, values = _with_common_seeds(column)
    means = {label: round(mean([own[seed] for seed in seeds]), _DIGITS) for label, own in values.items()}
    guessing = {row.label for row in board.rows if board.is_at_chance(row)}
    costs = _row_costs(board)
    budgets = row_budgets(board)
    found = []
    for budget in sorted(set(budgets.values())):
        within = [label for label in means if budgets.get(label, budget + 1) <= budget]
        if not within:
            continue
        best, *others = sorted(within, key=lambda label: (-means[label], costs[label], label))
        second = others[0] if others else None
        found.append(
            Winner(
                budget=budget,
                label=best,
                mean=means[best],
                second=second,
                lead=means[best] - means[second] if second else 0.0,
                ahead=column.difference(best, second) if second else None,
                seeds=len(seeds),
                at_chance=best in guessing,
            )
        )
    return found


def _with_common_seeds(column: ComparedColumn) -> tuple[list[int], dict[str, Mapping[int, float]]]:
    """Return the seeds that most rows share, and the rows that have them all."""
    seeds = sorted(column.seeds) or _one_seed(column)
    return seeds, {label: own for label, own in column.values.items() if seeds and own.keys() >= {*seeds}}


def _one_seed(column: ComparedColumn) -> list[int]:
    """Return the seed of most rows, in a list that is empty where no two rows share one."""
    rows = Counter(seed for own in column.values.values() for seed in own)
    seed, number = min(rows.items(), key=lambda each: (-each[1], each[0]), default=(0, 0))
    return [seed] if number > 1 else []


def _column(board: Board) -> ComparedColumn:
    """Return the AUCs as the board compares them; the accuracies where there is one compression."""
    rivals = [row for row in board.rows if row.competes]
    if len(board.auc_compressions) > 1:
        values: Mapping[str, Mapping[int, float]] = {row.label: row.aucs for row in rivals}
    else:
        points = ((row.label, row.at(value)) for row in rivals for value in board.auc_compressions)
        values = {label: point.top1 for label, point in points if point}
    return ComparedColumn.of(values, ERROR / max(1, board.compared_columns), board.margin)


def budget_sentence(board: Board) -> Iterator[str]:
    """Yield one sentence on the best row within each budget, and by how much; nothing where none is known.

    Larger budgets with the same best row are not repeated.
    """
    found = winners(board)
    if not found:
        return
    several = len(board.auc_compressions) > 1
    of = "AUC" if several else f"accuracy at compression {compression(board.auc_compressions[0])}"
    has = f"has the best {of} "
    parts: list[str] = []
    last = None
    for each in found:
        if last and each.label == last.label:
            continue
        last = each
        if each.at_chance:
            parts.append(f"{_within(each)} the best {of} is at chance")
        else:
            parts.append(f"{_within(each)} {each.label} {has}{_lead(each, board.margin)}")
            has = ""
    if last and found[-1].budget != last.budget:
        parts.append(f"no row that costs up to {found[-1].budget} is better")
    column = _column(board)
    compared = _with_common_seeds(column)[1].keys()
    unpriced = compared - _row_costs(board).keys()
    for reason, left in (
        ("with other seeds or fewer", column.values.keys() - compared),
        ("without a known cost", unpriced),
    ):
        if left:
            parts.append(f"not compared, {reason}: {', '.join(sorted(left))}")
    yield "; ".join(parts)


def _within(winner: Winner) -> str:
    return f"within {count(winner.budget, 'dense training')}"


def _lead(winner: Winner, margin: float) -> str:
    share = f"({percent(winner.mean)} %)"
    if winner.second is None:
        return f"{share}, as the only row"
    ahead = f"{share}, {f'ahead of {winner.second} by' if winner.lead else f'equal to {winner.second},'}"
    if winner.ahead is None:
        few = "one seed has no interval" if winner.seeds == 1 else "too few seeds for an interval"
        return f"{ahead} {percent(winner.lead)} points ({few})"
    lead = difference(winner.ahead).text.removeprefix("+")
    return f"{ahead} {lead} points{_doubt(winner.ahead, margin)}"


def _doubt(ahead: Estimate, margin: float) -> str:
    if verdict(ahead, margin) == "equivalent":
        return " (equivalent)"
    return "" if ahead.low is not None and ahead.low > 0 else " (undecided)"


def amount(cost: float | None, *, partial: bool = False) -> str:
    """Return a cost as text; `≥` where a part is left out.

    Example:
        >>> [amount(cost) for cost in (0.00417, 0.357, 2.5, 31.62)], amount(0.5, partial=True)
        (['0.0042', '0.36', '2.50', '31.6'], '≥0.50')
    """
    if cost is None:
        return BLANK
    digits = ".1f" if cost >= 10 else ".2f" if cost >= 0.0995 or not cost else ".2g"
    return f"{'≥' * partial}{cost:{digits}}"
