"""Boards of equal methods: critical values, and how often a board claims what is not there.

    python benchmarks/null_boards.py critical-values synflow_bench/leaderboard/critical_values.csv
    python benchmarks/null_boards.py report docs/explanation/null-boards.md --boards 3000

The first takes seven minutes on one core, the second about as long. Both are seeded.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synflow_bench.leaderboard.over_settings import bootstrap, mean_ranks
from synflow_bench.leaderboard.simultaneous import ERROR, critical_value, seeds_needed
from synflow_bench.leaderboard.standings import selection_bias
from synflow_bench.leaderboard.statistics import FEW_SEEDS, estimate, t_quantile

Array = NDArray[np.float64]
Draw = np.random.RandomState
Null = Callable[[Draw, tuple[int, int, int]], Array]
"""Draws accuracies of shape (boards, rows, seeds) on which all rows have the same mean."""

ROWS = (2, 3, 4, 6, 9, 13, 18, 25, 40)
SEEDS = (3, 4, 5, 6, 8, 10, 15, 20)
ERRORS = (0.05, 0.025, 0.01, 0.005, 0.0025, 0.001)
RANKINGS = 100
"""The most rankings over settings that are simulated; the bootstrap makes them slow."""
COLUMNS = 7
"""Six compressions and the AUC."""


def normal(draw: Draw, shape: tuple[int, int, int]) -> Array:
    """Return equal spreads."""
    return draw.standard_normal(shape)


def log_normal(draw: Draw, shape: tuple[int, int, int]) -> Array:
    """Return spreads that differ from row to row, by a factor of two up or down."""
    return draw.standard_normal(shape) * np.exp(0.7 * draw.standard_normal((*shape[:2], 1)))


def noisy(share: float, factor: float) -> Null:
    """Return a null with a share of the rows, at least one, `factor` times as noisy."""

    def null(draw: Draw, shape: tuple[int, int, int]) -> Array:
        values = draw.standard_normal(shape)
        values[:, : max(1, int(share * shape[1]))] *= factor
        return values

    return null


def seed_effects(draw: Draw, shape: tuple[int, int, int]) -> Array:
    """Return rows that share the effects of seeds, each to another degree."""
    boards, rows, seeds = shape
    shared = 2 * draw.uniform(0, 2, (boards, rows, 1)) * draw.standard_normal((boards, 1, seeds))
    return shared + draw.standard_normal(shape)


def collapsing(share: float) -> Null:
    """Return a null in which that share of the cells collapses from 80 to 10 percent."""

    def null(draw: Draw, shape: tuple[int, int, int]) -> Array:
        return np.where(draw.random_sample(shape) < share, 10.0, 80.0) + 0.5 * draw.standard_normal(shape)

    return null


def skewed(draw: Draw, shape: tuple[int, int, int]) -> Array:
    """Return values with a long tail to low accuracies."""
    return -draw.gamma(1.0, 1.0, shape)


CALIBRATED: dict[str, Null] = {
    "equal spreads": normal,
    "spreads differ (log-normal)": log_normal,
    "a fifth of the rows 5 x as noisy": noisy(0.2, 5),
    "a third of the rows 10 x as noisy": noisy(1 / 3, 10),
    "half of the rows 5 x as noisy": noisy(0.5, 5),
    "two rows of 25 10 x as noisy": noisy(0.08, 10),
    "one row 10 x as noisy": noisy(0, 10),
    "shared effects of seeds": seed_effects,
}
UNSEEN: dict[str, Null] = {
    "one cell in ten collapses": collapsing(0.1),
    "three cells in ten collapse": collapsing(0.3),
    "skewed": skewed,
}
"""Nulls by which the critical values were not chosen."""


def pooled(values: Array) -> Array:
    """Return one spread for all rows, as the studentized range assumes."""
    return np.broadcast_to(np.sqrt((own(values) ** 2).mean(axis=1, keepdims=True)), values.shape[:2])


def own(values: Array) -> Array:
    """Return each row's own spread."""
    left = values - values.mean(axis=2, keepdims=True)
    left = left - np.median(left, axis=1, keepdims=True)
    found: Array = left.std(axis=2, ddof=1) * math.sqrt(values.shape[1] / (values.shape[1] - 1))
    return found


def own_or_mean(values: Array) -> Array:
    """Return the row's own spread or the mean one."""
    return np.maximum(own(values), own(values).mean(axis=1, keepdims=True))


def own_or_median(values: Array) -> Array:
    """Return the row's own spread or the median one."""
    return np.maximum(own(values), np.median(own(values), axis=1, keepdims=True))


def spreads(values: Array) -> Array:
    """Return what `simultaneous.spreads` does, for values of shape (boards, rows, seeds)."""
    return own_or_mean(values) if values.shape[2] < FEW_SEEDS else own_or_median(values)


def largest(values: Array, spread: Callable[[Array], Array] = spreads) -> Array:
    """Return the largest statistic among all pairs of rows, of shape (boards,)."""
    seeds = values.shape[-1]
    means, variances = values.mean(axis=-1), spread(values) ** 2
    found = np.zeros(len(values))
    for row in range(values.shape[1]):
        errors = np.sqrt((variances + variances[:, [row]]) / seeds)
        found = np.maximum(found, ((means[:, [row]] - means) / np.maximum(errors, 1e-12)).max(axis=1))
    return found


def critical_values(boards: int) -> str:
    """Return the table of critical values as CSV: the largest quantile of all calibrated nulls."""
    found: dict[tuple[int, int], Array] = {}
    for rows in ROWS:
        for seeds in SEEDS:
            draw = Draw(1000 * rows + seeds)
            of_nulls = [
                np.quantile(largest(null(draw, (boards, rows, seeds))), [1 - error for error in ERRORS])
                for null in CALIBRATED.values()
            ]
            found[rows, seeds] = np.max(of_nulls, axis=0)
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(["rows", "seeds", *ERRORS])
    for (rows, seeds), values in found.items():
        writer.writerow([rows, seeds, *(f"{value:.3f}" for value in values)])
    return sink.getvalue()


RULES: dict[str, Callable[[Array], Array]] = {
    "own spread (Welch)": own,
    "one pooled spread (studentized range)": pooled,
    "own or mean spread": own_or_mean,
    "own or median spread": own_or_median,
    "**the rule of the board**": spreads,
}


def paired_t(values: Array) -> Array:
    """Return the largest paired t statistic among all pairs, of shape (boards,)."""
    seeds, found = values.shape[-1], np.zeros(len(values))
    for row in range(values.shape[1]):
        differences = values[:, [row]] - values
        errors = differences.std(axis=2, ddof=1) / math.sqrt(seeds)
        found = np.maximum(found, (differences.mean(axis=2) / np.maximum(errors, 1e-12)).max(axis=1))
    return found


def null_board(null: Null, draw: Draw, shape: tuple[int, int, int]) -> list[Array]:
    """Return six columns that share seven cells in ten, and their mean, the AUC."""
    common = null(draw, shape)
    columns = [np.where(draw.random_sample(shape) < 0.7, common, null(draw, shape)) for _ in range(6)]
    return [*columns, np.mean(columns, axis=0)]


def false_claims(null: Null, rows: int, seeds: int, boards: int, seed: int = 1) -> float:
    """Return the share of null boards on which some row is called worse, or better, than another."""
    draw, critical = Draw(seed), critical_value(rows, seeds, ERROR / COLUMNS)
    columns = null_board(null, draw, (boards, rows, seeds))
    return float(np.any([largest(column) > critical for column in columns], axis=0).mean())


def uncorrected_claims(null: Null, rows: int, seeds: int, boards: int) -> float:
    """Return the share of null boards with a row below the best by its own paired t-interval."""
    found = np.zeros(boards, dtype=bool)
    for column in null_board(null, Draw(1), (boards, rows, seeds)):
        means = column.mean(axis=2)
        best = column[np.arange(boards), means.argmax(axis=1)]
        differences = best[:, None] - column
        errors = differences.std(axis=2, ddof=1) / math.sqrt(seeds)
        statistics = differences.mean(axis=2) / np.maximum(errors, 1e-12)
        found |= (statistics > t_quantile(seeds - 1)).any(axis=1)
    return float(found.mean())


def equivalence_claims(null: Null, seeds: int, boards: int, rows: int = 25) -> float:
    """Return the share of boards on which a row exactly one margin below the best is called equivalent.

    The other rows lie one margin below the first. The margin is wide beside all spreads, so that only the
    interval's lower end decides, which is the worst case.
    """
    critical, found = critical_value(rows, seeds, ERROR / COLUMNS), np.zeros(boards, dtype=bool)
    for column in null_board(null, Draw(17), (boards, rows, seeds)):
        means, variances = column.mean(axis=2), spreads(column) ** 2
        errors = np.sqrt((variances + variances[:, :1]) / seeds)
        found |= ((means - means[:, :1])[:, 1:] > critical * errors[:, 1:]).any(axis=1)
    return float(found.mean())


def equivalence_table(boards: int) -> str:
    """Return the share of boards with a row that is wrongly called equivalent, by null and seeds."""
    lines = [
        [name, *(f"{100 * equivalence_claims(null, seeds, boards):.1f} %" for seeds in (3, 5, 10))]
        for name, null in {**CALIBRATED, **UNSEEN}.items()
    ]
    return _table(["24 rows one margin below the best, 7 columns", "3 seeds", "5 seeds", "10 seeds"], lines)


def to_chosen_best(values: Array) -> Array:
    """Return the largest statistic among the pairs with the best row alone, of shape (boards,)."""
    means, variances, every = values.mean(axis=2), spreads(values) ** 2, np.arange(len(values))
    best = means.argmax(axis=1)
    errors = np.sqrt((variances + variances[every, best][:, None]) / values.shape[2])
    found: Array = ((means[every, best][:, None] - means) / np.maximum(errors, 1e-12)).max(axis=1)
    return found


def all_pairs_table(boards: int) -> str:
    """Return critical values for all pairs, and for the pairs with the chosen best alone."""
    lines = []
    for seeds in (3, 5, 10):
        draws = [null(Draw(200 + seeds), (boards, 25, seeds)) for null in CALIBRATED.values()]
        pairs, best = (
            max(float(np.quantile(statistic(values), 1 - ERROR / COLUMNS)) for values in draws)
            for statistic in (largest, to_chosen_best)
        )
        lines.append([str(seeds), f"{pairs:.1f}", f"{best:.1f}", f"{100 * (1 - best / pairs):.0f} %"])
    return _table(["seeds", "all pairs", "pairs with the chosen best", "smaller by"], lines)


def rank_coverage(settings: int, variety: float, boards: int, rows: int = 10, seeds: int = 5) -> float:
    """Return how often the bootstrap interval of a mean rank holds the mean over all settings.

    A row's mean in a setting is its own effect, of unit spread over rows, plus one of that setting.

    Args:
        settings: The number of settings that are compared.
        variety: The spread of the effects of settings on a row; seeds have a spread of 0.3.
        boards: The number of repetitions.
        rows: The number of rows.
        seeds: The seeds in each setting.
    """
    draw, held = Draw(19), []
    for _ in range(boards):
        effects = draw.standard_normal(rows)
        population = effects + variety * draw.standard_normal((1000, rows))
        truth = mean_ranks(list(population[:, :, None]))
        tables = [each[:, None] + 0.3 * draw.standard_normal((rows, seeds)) for each in population[:settings]]
        low, high = bootstrap(tables, resamples=500)
        held.append(((low - 1e-9 <= truth) & (truth <= high + 1e-9)).mean())
    return float(np.mean(held))


def rank_table(boards: int) -> str:
    """Return the coverage of the intervals of mean ranks, by the number of settings."""
    lines = [
        [
            f"{variety:g}",
            *(f"{100 * rank_coverage(settings, variety, boards):.0f} %" for settings in (2, 3, 6, 10, 20)),
        ]
        for variety in (0.3, 1.0, 3.0)
    ]
    head = [
        "spread over settings / spread over rows",
        *(f"{number} settings" for number in (2, 3, 6, 10, 20)),
    ]
    return _table(head, lines)


def _table(head: list[str], lines: list[list[str]]) -> str:
    rule = ["---"] * len(head)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, rule, *lines])


def false_claim_table(boards: int) -> str:
    """Return the share of null boards with a false claim, by null and seeds."""
    lines = []
    for name, null in {**CALIBRATED, **UNSEEN}.items():
        shares = [false_claims(null, 25, seeds, boards) for seeds in (3, 5, 10)]
        before = [uncorrected_claims(null, 25, seeds, boards) for seeds in (3, 5, 10)]
        lines.append([name, *(f"{100 * share:.1f} %" for share in (*shares, *before))])
    head = ["boards of 25 equal rows, 7 columns", "3 seeds", "5 seeds", "10 seeds"]
    return _table([*head, *(f"uncorrected, {seeds} seeds" for seeds in (3, 5, 10))], lines)


def rule_table(boards: int) -> str:
    """Return for each rule the false claims where spreads differ, and the gaps that it finds.

    The first numbers use the critical value of equal spreads; the gaps that of the worst calibrated null.
    """
    lines = [["paired t, all pairs (Bonferroni)", *_rule_numbers(None, boards)]]
    lines += [[name, *_rule_numbers(rule, boards)] for name, rule in RULES.items()]
    head = ["spread of a row"]
    head += [f"false claims, {seeds} seeds" for seeds in (3, 5, 10)]
    head += [f"gap found, {seeds} seeds" for seeds in (3, 5, 10)]
    head += [f"gap beside noisy rows, {seeds} seeds" for seeds in (5, 10)]
    return _table(head, lines)


def _rule_numbers(rule: Callable[[Array], Array] | None, boards: int) -> list[str]:
    false, gaps, noisy_gaps = [], [], []
    for seeds in (3, 5, 10):
        at = 1 - ERROR / COLUMNS
        found = [_largest(rule, null(Draw(100 + seeds), (boards, 25, seeds))) for null in CALIBRATED.values()]
        equal, worst = np.quantile(found[0], at), max(float(np.quantile(each, at)) for each in found)
        if rule is None:
            # The paired t needs no simulation: each pair has its exact quantile, and Bonferroni adds them up.
            equal = worst = t_quantile(seeds - 1, 1 - ERROR / COLUMNS / 300)
        share = min(1.0, max(COLUMNS * float((each > equal).mean()) for each in found))
        false.append(f"{100 * share:.0f} %")
        gaps.append(f"{gap_found(rule, worst, seeds, 0.0):.1f}")
        if seeds > 3:
            noisy_gaps.append(f"{gap_found(rule, worst, seeds, 0.2):.1f}")
    return [*false, *gaps, *noisy_gaps]


def _largest(rule: Callable[[Array], Array] | None, values: Array) -> Array:
    return paired_t(values) if rule is None else largest(values, rule)


def gap_found(
    rule: Callable[[Array], Array] | None, critical: float, seeds: int, noisy_share: float, boards: int = 1000
) -> float:
    """Return the gap, in standard deviations over seeds, that is found on four of five boards.

    Two rows of unit spread are compared among 25, of which a share is 20 times as noisy.
    """
    values = Draw(5).standard_normal((boards, 25, seeds))
    values[:, 2 : 2 + int(25 * noisy_share)] *= 20
    difference = values[:, 0].mean(axis=1) - values[:, 1].mean(axis=1)
    if rule is None:
        errors = (values[:, 0] - values[:, 1]).std(axis=1, ddof=1) / math.sqrt(seeds)
    else:
        errors = np.sqrt((rule(values)[:, :2] ** 2).sum(axis=1) / seeds)
    # Found where gap + difference > critical * errors.
    return float(np.quantile(critical * errors - difference, 0.8))


def coverage_table(trials: int) -> str:
    """Return how often the interval of an accuracy holds the true mean, and a range the median."""
    draw = Draw(7)
    truths: dict[str, tuple[Callable[[int], Array], float, float]] = {
        "80 ± 2": (lambda n: draw.normal(80, 2, (trials, n)), 80, 80),
        "98 ± 1.5, none above 100": (lambda n: 100 - draw.gamma(2, 1, (trials, n)), 98, 100 - 1.67835),
        "one cell in ten collapses": (lambda n: collapsing(0.1)(draw, (trials, 1, n))[:, 0], 73, math.nan),
        "three cells in ten collapse": (lambda n: collapsing(0.3)(draw, (trials, 1, n))[:, 0], 59, math.nan),
    }
    lines = []
    for name, (sample, true_mean, true_median) in truths.items():
        cells = []
        for seeds in (3, 4, 5, 10, 20):
            truth = true_median if seeds < 5 else true_mean
            held = [
                bool(estimate((each / 100).tolist()).contains(truth / 100))
                for each in np.clip(sample(seeds), 0, 100)
            ]
            cells.append("–" if math.isnan(truth) else f"{100 * np.mean(held):.1f} %")
        lines.append([name, *cells])
    head = [
        "accuracies",
        "range of 3 holds the median",
        "of 4",
        "t-interval of 5 holds the mean",
        "of 10",
        "of 20",
    ]
    return _table(head, lines)


def seeds_table(boards: int) -> str:
    """Return the seeds needed for a known gap, and how often they separate the rows."""
    lines = []
    for gap in (1.5, 2.0, 3.0, 4.0, 6.0):
        seeds = seeds_needed(gap, 1.0, 1.0, 25, ERROR / COLUMNS)
        if seeds is None:
            continue
        shares = []
        for null in (normal, log_normal):
            values = null(Draw(9), (boards, 25, seeds))
            values[:, 0] = Draw(10).standard_normal((boards, seeds)) + gap
            values[:, 1] = Draw(11).standard_normal((boards, seeds))
            errors = np.sqrt((spreads(values)[:, :2] ** 2).sum(axis=1) / seeds)
            critical = critical_value(25, seeds, ERROR / COLUMNS)
            statistic = (values[:, 0] - values[:, 1]).mean(axis=1) / errors
            shares.append(f"{100 * (statistic > critical).mean():.0f} %")
        lines.append([f"{gap:g}", str(seeds), *shares])
    return _table(
        ["gap in deviations over seeds", "seeds needed", "found", "found where spreads differ"], lines
    )


def flattery_table(boards: int) -> str:
    """Return the excess of the best of equal means, and what the bootstrap says of it."""
    lines = []
    for rows in (2, 5, 25):
        for seeds in (3, 5, 10):
            values = normal(Draw(13), (boards, rows, seeds))
            estimates = np.mean([selection_bias(each) for each in values[:100]])
            truth = values.mean(axis=2).max(axis=1).mean()
            lines.append([str(rows), str(seeds), f"{truth:.2f}", f"{estimates:.2f}"])
    return _table(["equal rows", "seeds", "excess of the best mean, in deviations", "bootstrap"], lines)


def report(boards: int) -> str:
    """Return the page of all simulations."""
    return (
        "\n\n".join(
            [
                "<!-- Written by `python benchmarks/null_boards.py report`; edits here are lost. -->",
                "# Simulated null boards",
                "Boards of equal methods show how often a board claims a difference that is not there.\n"
                "[For reviewers](for-reviewers.md) says what the rule is; "
                "[decision 26](../adr/0026-claims-over-many-comparisons.md) why.",
                "## False claims",
                "The share of boards on which some row is called worse, or better, than a row that it "
                f"equals.\n{boards:,} boards of 25 equal rows for each number; six columns that share "
                "seven cells in ten, and their mean.\nThe last three nulls had no part in the choice of "
                "the critical values; those with collapsing cells had one in the choice of the rule.\n"
                "Beside it is the share with a row whose own paired 95 % t-interval "
                "lies below the best, as boards marked it before.",
                false_claim_table(boards),
                "## The rules that were compared",
                "False claims are those of the worst of the eight nulls, where the critical value is that "
                "of equal spreads (seven columns, as an upper bound).\nGaps are in standard deviations "
                "over seeds: the gap that is found on four of five boards where the critical value is "
                "that of the worst null, between two rows among 25 of equal spread, and where five of the "
                "25 rows are 20 times as noisy.",
                rule_table(boards),
                "## All pairs, or those with the best",
                "Critical values of 25 rows and seven columns, the largest of the eight nulls, if they hold "
                "for all pairs of rows, and if they only hold for pairs with the row that was chosen as the "
                "best.",
                all_pairs_table(boards),
                "## False equivalence",
                "The share of boards on which some row is called equivalent to the best, although its true "
                "mean lies exactly one margin below.\nThe margin is wide beside all spreads; where it is "
                "not, fewer rows are called equivalent.",
                equivalence_table(boards),
                "## Coverage of intervals",
                "From five seeds on the interval of an accuracy is the t-interval, cut at 0 and 100.\nIt "
                "holds the mean as often as it says where accuracies are about normal, about three times "
                "in 100 less often near 0 or 100, and much less often where single cells collapse.\nThe "
                "range of fewer seeds is not a confidence interval of the mean.",
                coverage_table(boards),
                "## Seeds needed",
                "The seeds that the board names for a known gap among 25 rows and seven columns, and how "
                "often they separate the two rows (80 % is wanted).",
                seeds_table(boards),
                "## Ranks over settings",
                "How often the bootstrap interval of a mean rank holds the mean over all settings from which "
                f"the compared ones are drawn.\n{min(boards, RANKINGS)} rankings of ten rows with five "
                "seeds, whose spread is 0.3 of that over rows.",
                rank_table(min(boards, RANKINGS)),
                "## How the best is flattered",
                "The mean of the best of equal rows exceeds its true mean; the bootstrap over seeds "
                "estimates by how much.\nWith few seeds it finds only a part of it.",
                flattery_table(boards),
            ]
        )
        + "\n"
    )


def main() -> None:
    """Write the critical values, or the page of all simulations."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["critical-values", "report"])
    parser.add_argument("file", type=Path)
    parser.add_argument("--boards", type=int, default=12_000, help="boards for each number")
    options = parser.parse_args()
    write = critical_values if options.what == "critical-values" else report
    options.file.write_text(write(options.boards), encoding="utf-8")


if __name__ == "__main__":
    main()
