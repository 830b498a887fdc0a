"""Boards of tuned pruners: each row has the value of a recipe's field that validation accuracy chose."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from synflow_bench.errors import UsageError
from synflow_bench.leaderboard.statistics import mean
from synflow_bench.records import Result
from synflow_bench.suites import Setting, Tuning, canonical


@dataclass(frozen=True)
class Tuned:
    """The values that the rows of one board have, and the trainings that it took to choose them.

    Attributes:
        tuning: The field and the values among which was chosen.
        chosen: The value of each shown result, by its key.
        trainings: The trained cells of all candidates.
        shown: The trained cells of the chosen ones, which the board shows.
    """

    tuning: Tuning
    chosen: dict[str, float]
    trainings: int
    shown: int

    @property
    def lines(self) -> Iterator[str]:
        """The rule and its cost, a line each."""
        values = ", ".join(f"{value:g}" for value in self.tuning.values)
        yield (
            f"tuned: {self.tuning.field} of every pruner and of the dense network is the one of {values} "
            "with the highest validation accuracy (mean over compressions of means over seeds)"
        )
        yield (
            f"cost of tuning: {self.trainings} cells were trained for the {self.shown} that are shown; "
            "the costs of rows are those of shown cells"
        )


def tune_results(results: Iterable[Result], tuning: Tuning) -> tuple[list[Result], dict[str, Tuned]]:
    """Choose the value of every pruner, and leave out the results of its other values.

    Settings that differ in the tuned field alone become one setting, which has the first value in place of
    all. For each pruner with its parameters, the value is the one with the highest mean, over compressions,
    of the mean validation accuracies over seeds, after the last epoch. All values are compared on the cells
    that any of them has recorded: one that a value lacks, or where it failed, counts as an accuracy of zero.
    Of equal values the first is taken. Ablations have the value of their plain row. The test set is not used.

    Args:
        results: Results of any settings; those of settings with other values are returned as they are.
        tuning: The field and its values.

    Returns:
        The results, and what was chosen by the `board` of the setting.

    Raises:
        UsageError: No settings differ in the field alone, or they hold out no examples for validation.
    """
    kept, groups = _by_tuned_board(results, tuning)
    found: dict[str, Tuned] = {}
    for board, group in groups.items():
        chosen, found[board] = _tuned(group, tuning)
        kept += chosen
    if not found:
        raise UsageError(
            f"no two settings differ only in {tuning.field} with values of {tuning.text!r}; "
            f"run them with --tune {tuning.text!r}"
        )
    return kept, found


def can_tune(results: Iterable[Result], tuning: Tuning) -> bool:
    """Return True if the settings of some results differ in the tuned field alone."""
    return bool(_by_tuned_board(results, tuning)[1])


def _by_tuned_board(
    results: Iterable[Result], tuning: Tuning
) -> tuple[list[Result], dict[str, list[Result]]]:
    """Group the results of settings with two values or more; the other results come first."""
    kept: list[Result] = []
    groups: dict[str, list[Result]] = {}
    for result in results:
        setting = result.cell.setting
        if tuning.value_of(setting) is None:
            kept.append(result)
        else:
            groups.setdefault(_common(setting, tuning).board, []).append(result)
    several = {
        board: group
        for board, group in groups.items()
        if len({tuning.value_of(result.cell.setting) for result in group}) > 1
    }
    kept += [result for board, group in groups.items() if board not in several for result in group]
    return kept, several


def board_id(board: str, tuning: Tuning) -> str:
    """Return eight hex digits for a board of tuned rows, which no board of one setting has."""
    return sha256(canonical([board, tuning.field, tuning.values]).encode()).hexdigest()[:8]


def _tuned(group: Sequence[Result], tuning: Tuning) -> tuple[list[Result], Tuned]:
    rows: dict[str, list[Result]] = {}
    for result in group:
        rows.setdefault(_row(result), []).append(result)
    values = {name: _choice(row, tuning) for name, row in rows.items()}
    kept = [result for result in group if tuning.value_of(result.cell.setting) == values[_row(result)]]
    chosen = {result.key: values[_row(result)] for result in kept}
    tuned = Tuned(tuning, chosen, _trained(group), _trained(kept))
    return [_moved(result, tuning) for result in kept], tuned


def _row(result: Result) -> str:
    pruner, protocol = result.cell.pruner, result.cell.setting.protocol
    return canonical([pruner.name, pruner.parameters, protocol.model_dump(mode="json")])


def _choice(row: Sequence[Result], tuning: Tuning) -> float:
    """Return the value with the highest validation accuracy, of plain cells of the newest revision."""
    plain = [result for result in row if result.cell.ablation == "none"] or row
    newest = max(map(_revision, plain))
    accuracies: dict[tuple[float, int], dict[float, float]] = {}
    for result in plain:
        value = tuning.value_of(result.cell.setting)
        if _revision(result) == newest and value is not None:
            place = result.cell.compression, result.cell.seed
            accuracies.setdefault(place, {})[value] = _validation(result)

    def score(value: float) -> float:
        curve: dict[float, list[float]] = {}
        for (compression, _), by_value in accuracies.items():
            curve.setdefault(compression, []).append(by_value.get(value, 0.0))
        return mean([mean(seeds) for seeds in curve.values()])

    return max(tuning.values, key=score)


def _validation(result: Result) -> float:
    if result.metrics is None:
        return 0.0
    if result.metrics.val_top1 is None:
        raise UsageError(
            f"tuning chooses by validation accuracy, and {result.cell.setting.title} holds no examples out; "
            "run it with --set recipe.validation_fraction=0.1"
        )
    return result.metrics.val_top1


def _revision(result: Result) -> tuple[int, int, int]:
    revisions = result.cell.revisions
    return revisions.dataset, revisions.model, revisions.pruner


def _trained(results: Iterable[Result]) -> int:
    return sum(result.metrics is not None for result in results)


def _common(setting: Setting, tuning: Tuning) -> Setting:
    recipe = setting.recipe.model_copy(update={tuning.field: tuning.values[0]})
    return setting.model_copy(update={"recipe": recipe})


def _moved(result: Result, tuning: Tuning) -> Result:
    cell = result.cell
    return replace(result, cell=cell.model_copy(update={"setting": _common(cell.setting, tuning)}))
