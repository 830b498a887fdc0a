"""Every number and term of a leaderboard, declared once.

All tables, CSV, JSON, the site, legends and `leaderboard --explain` are made from `GLOSSARY`: to add a
number, add a metric here.
"""

from __future__ import annotations

from typing import Any

from synflow_bench.errors import UnknownNameError
from synflow_bench.leaderboard.ablation_terms import ABLATION_DELTAS, ABLATION_DELTAS_OF_AUC, OVER_SEEDS
from synflow_bench.leaderboard.cost_terms import POINT_COSTS, ROW_COSTS
from synflow_bench.leaderboard.formatting import (
    BLANK,
    TableCell,
    compression,
    difference,
    estimate,
)
from synflow_bench.leaderboard.measured import MEASURED
from synflow_bench.leaderboard.metric import INTERVAL, SIMULTANEOUS, AnyResult, Metric, Position, Term
from synflow_bench.leaderboard.record_terms import RECORD_TERMS, measured
from synflow_bench.leaderboard.simultaneous import MOST_SEEDS
from synflow_bench.leaderboard.size_terms import SIZES
from synflow_bench.records import printable


def _accuracy(at: Position) -> TableCell:
    if at.point.accuracy is None:
        words = "not defined" if at.point.is_not_defined else "failed" if at.point.failed else "skipped"
        return TableCell(words)
    return estimate(at.point.accuracy, len(at.board.seeds), at.point.standing, at.point.at_chance)


def _layers(record: AnyResult) -> str:
    return ", ".join(map(printable, record.metrics.collapsed_layers)) if record.metrics else BLANK


def _rank(at: Position) -> str:
    if at.row.rank is None:
        return BLANK
    ranks = at.row.rank_range
    return f"{at.row.rank} ({ranks.low}–{ranks.high})" if ranks else str(at.row.rank)


def _critical(at: Position) -> str:
    value = at.row.critical_compression
    return compression(value) if value is None or at.row.collapses else f"≥{compression(value)}"


def _needed(needed: int | None, standing: str | None, shown: Any) -> str:
    if standing != "undecided" or shown is None:
        return ""
    return f">{MOST_SEEDS}" if needed is None else str(needed)


def _notes(at: Position) -> str:
    skipped = "not defined" if at.point.is_not_defined else "skipped"
    counts = {"failed": at.point.failed, skipped: at.point.skipped, "diverged": at.point.diverged}
    return ", ".join(f"{number} {status}" for status, number in counts.items() if number)


_INTERVAL = (
    "With five seeds or more ± is the half-width of the 95 % t-interval, t(n - 1) s / sqrt(n), where s is "
    "the standard deviation over seeds; an interval that would leave the possible values is cut there and "
    "written as (low–high). With fewer seeds (low–high) is the range of the values, which holds the "
    "median of all seeds 50, 75 and 88 times in 100 with 2, 3 and 4 seeds."
)
_TOGETHER = (
    "with an interval that holds for all pairs of rows in all columns of the board together, in 95 of 100 "
    "boards"
)

GLOSSARY: tuple[Term, ...] = (
    Metric(
        "accuracy",
        "Test top-1 after the final epoch, never the best epoch. The mean over the seeds that finished. "
        f"{_INTERVAL} Near 0 or 100 the true mean is inside 92 times in 100, and where single seeds collapse "
        "less often. Failed and skipped cells are listed below the board and never averaged. In percent in "
        "tables; CSV, JSON and Parquet hold shares.",
        legend="test top-1 after the final epoch, in percent: mean over seeds ± half-width of its 95 % "
        "t-interval, or (smallest–largest) with fewer than five seeds",
        key="final_epoch_test_top1",
        parts=INTERVAL,
        of_board=lambda at: at.point.accuracy,
        cell=_accuracy,
    ),
    Term(
        "seeds",
        "The repetitions that finished. At one seed all pruners share initial weights, data order and "
        "augmentation, so that differences are paired.",
    ),
    Metric(
        "standing",
        "The comparison with the best row at the same compression: best, equivalent, worse, or undecided, "
        "which means that the seeds cannot tell; empty where there is no other row. All pairs of rows in "
        "all columns of a board, the AUC included, share an error of 5 %: on 95 of 100 boards no row is "
        "called worse, or better, than a row that it equals. Two rows are separated if their means differ "
        "by more than c standard errors. The spread of a row is its own standard deviation over seeds, "
        "without what all rows share at a seed, or the median of the column's (the mean with fewer than "
        "five seeds), whichever is larger. c is simulated on boards of equal rows, with equal and with "
        "very unequal spreads, so that choosing the best by the same data is covered. Fewer than three "
        "common seeds decide nothing.",
        key="standing",
        of_board=lambda at: at.point.standing,
    ),
    Term(
        "best",
        "The highest mean accuracy at that compression among rows with the same seeds: of all sets of two "
        "seeds or more that two rows or more have finished, the one for which rows times seeds is largest. "
        "Where there is no such set no best is named. The dense network and ablations do not compete.",
        legend="the best: the highest mean at that compression, named only among two or more pruners with "
        "the same two or more seeds",
    ),
    Term(
        "equivalent",
        "The simultaneous interval of the difference from the best lies within the margin, by default one "
        "percentage point (--margin). Two one-sided tests: a difference that matters is excluded, "
        "whatever its sign.",
        legend="equivalent to the best: the difference lies within the margin",
    ),
    Term(
        "undecided",
        "The seeds cannot tell: the simultaneous interval of the difference from the best contains zero "
        "and leaves the margin, or fewer than three seeds are common, or the row is better than the best "
        "over seeds by which the best was not chosen. It does not mean that the rows are alike; see seeds "
        "needed.",
        legend="the seeds cannot tell; this does not mean that the rows are alike",
    ),
    Term(
        "worse",
        "The simultaneous interval of the difference from the best lies below zero, and leaves the margin.",
        legend="(no mark) worse than the best, after correction for all comparisons of the board",
    ),
    Metric(
        "at chance",
        "The number of seeds that do no better than guessing: no path of kept weights is left from input "
        "to output, or test top-1 is at most 1.25 times the accuracy of guessing, which is that of the "
        "board's networks before training, in the middle. Marked † k/n. A mean over collapsed and other "
        "seeds describes neither.",
        legend="† k/n: k of n seeds at chance",
        key="at_chance",
        of_board=lambda at: at.point.at_chance,
    ),
    Metric(
        "rank",
        "One plus the number of rows with a larger mean AUC. Only rows that compete and have the AUC of "
        "three seeds or more are counted; a preliminary board has no ranks. It depends on the "
        "compressions over which the AUC is taken, which the board names. Beside it (low–high) is the "
        "rank range.",
        legend="1 for the largest AUC, among rows with the AUC of three seeds or more; (low–high) are "
        "the ranks that the data allow, for all rows together",
        key="rank",
        table="accuracy",
        of_board=lambda at: at.row.rank,
        cell=_rank,
    ),
    Metric(
        "tuned",
        "The value of the field of the recipe that is tuned for each pruner: the one whose mean, over "
        "compressions, of the mean validation accuracies over seeds is highest. The test set is not used. "
        "Boards with one recipe for all pruners do not have it.",
        legend="the value of the tuned field that validation accuracy chose for this row",
        key="tuned",
        table="accuracy",
        of_board=lambda at: at.row.tuned,
        show=lambda value: BLANK if value is None else f"{value:g}",
    ),
    Metric(
        "rank range",
        "The ranks that the data allow: from one plus the number of rows that are separated from it "
        "above, to the number of rows that are not separated from it below, by the comparisons of the "
        "standing. All ranges of a board hold together in 95 of 100 boards. Mogstad et al. 2024, "
        "Inference for ranks, arXiv 2011.06999.",
        key="rank_range",
        parts=("low", "high"),
        of_board=lambda at: at.row.rank_range,
    ),
    Metric(
        "AUC",
        "The area under the curve of accuracy against log compression by the trapezoidal rule, divided by "
        "the width of the range: an accuracy averaged over log compression. It is computed over the "
        "compressions above 1 that most competing rows have with three seeds or more, all of them "
        "together; further compressions of other rows are named below the board. Computed for each seed "
        "that has all of these compressions; the mean over those seeds, with the interval of accuracies.",
        legend="area under the curve of accuracy against log compression, over the compressions above 1 "
        "that most pruners share, divided by its width",
        key="auc",
        parts=INTERVAL,
        table="accuracy",
        always=True,
        of_board=lambda at: at.row.auc,
        cell=lambda at: estimate(at.row.auc, len(at.board.seeds), at.row.auc_standing),
    ),
    Metric(
        "AUC to best",
        f"AUC of the row minus the best AUC, in percentage points, {_TOGETHER}. The best AUC is chosen as "
        "the best accuracy is. Where the interval contains zero, the order of the two may be chance.",
        legend=f"AUC minus that of the row with the best AUC, in points, {_TOGETHER}",
        key="auc_to_best",
        parts=SIMULTANEOUS,
        table="accuracy",
        of_board=lambda at: at.row.auc_to_best,
        cell=lambda at: "best" if at.row.auc_standing == "best" else difference(at.row.auc_to_best),
    ),
    Metric(
        "AUC seeds needed",
        "The number of seeds with which the AUC of this row would be separated from the best one, with "
        f"probability 0.8, if the observed difference and spreads are the true ones; up to {MOST_SEEDS} "
        "are tried. Empty where the two are separated or equivalent. The difference of a best row is "
        "flattered, so that more seeds than these may be needed.",
        legend="seeds that would separate an undecided AUC from the best",
        key="auc_seeds_needed",
        table="accuracy",
        of_board=lambda at: at.row.auc_seeds_needed,
        cell=lambda at: _needed(at.row.auc_seeds_needed, at.row.auc_standing, at.row.auc_to_best),
    ),
    Metric(
        "AUC to best, uncorrected",
        f"AUC of the row minus the best AUC, in percentage points: {OVER_SEEDS}.",
        key="auc_to_best_uncorrected",
        parts=INTERVAL,
        of_board=lambda at: at.row.auc_to_best_uncorrected,
    ),
    Metric(
        "AUC flattery",
        "The estimated excess of the best mean AUC over its true mean, because it was chosen as the best "
        "of many noisy means: seeds are resampled 1,000 times, the best is chosen again, and its excess "
        "over its own mean is averaged. With few seeds this finds half to two thirds of the excess.",
        key="auc_flattery",
        of_board=lambda at: at.row.auc_flattery,
    ),
    Metric(
        "AUC to baseline",
        f"AUC of the row minus that of the baseline, in percentage points: {OVER_SEEDS}. "
        "The dense network has no AUC.",
        legend="AUC minus that of the baseline, in points",
        key="auc_to_baseline",
        parts=INTERVAL,
        table="accuracy",
        of_board=lambda at: at.row.auc_to_baseline,
        show=difference,
    ),
    *ROW_COSTS,
    Metric(
        "critical compression",
        "The largest compression up to which no seed lost a whole layer: neither at it nor at any smaller "
        "one on the board is there a layer without weights on a path of kept weights from input to "
        "output. Tanaka et al. 2020, arXiv 2006.05467. Where no seed lost a layer at any compression of "
        "the board it is at least the largest one, written ≥1000.",
        legend="largest compression up to which no seed lost a whole layer; ≥ where none did at any",
        key="critical_compression",
        table="accuracy",
        always=True,
        of_board=lambda at: at.row.critical_compression,
        cell=_critical,
    ),
    Metric(
        "collapses",
        "True if some seed lost a whole layer at a compression of the board; if not, the critical "
        "compression is only known to be at least the largest one.",
        key="collapses",
        of_board=lambda at: at.row.collapses,
    ),
    *ABLATION_DELTAS_OF_AUC,
    Metric(
        "overall rank",
        "The rank by mean AUC in each setting, averaged over the settings whose boards are not "
        "preliminary. Pruners that some of them lack are left out; equal AUCs share their ranks. The "
        "interval holds the 2.5 % and 97.5 % percentiles of 2,000 bootstrap resamples of settings, and of "
        "seeds within each setting, with a fixed seed. Over few settings or seeds such intervals are too "
        "narrow.",
        key="overall_rank",
        parts=("mean", "low", "high"),
    ),
    Term(
        "interquartile mean",
        "The mean AUC of the middle half of all runs of a row over settings and seeds, in percent, with a "
        "95 % bootstrap over seeds within settings. Agarwal et al. 2021, arXiv 2108.13264.",
    ),
    Term(
        "first improves",
        "The probability that a run of the first row has a larger AUC than one of this row, averaged over "
        "settings, with a 95 % bootstrap over seeds within settings. One half for equal rows. Agarwal et "
        "al. 2021, arXiv 2108.13264.",
    ),
    Term(
        "performance profile",
        "The share of all runs of a row, over settings and seeds, whose AUC is above a threshold. Agarwal "
        "et al. 2021, arXiv 2108.13264.",
    ),
    Term(
        "Friedman test",
        "The probability that mean ranks over settings differ as much as these where all rows are equal: "
        "ranks are permuted within settings 10,000 times. Only with six settings or more. Demsar 2006, "
        "JMLR 7.",
    ),
    Term(
        "critical difference",
        "The difference of mean ranks that separates two rows by Nemenyi's test, with an error of 5 % for "
        "all pairs of rows together. Only with six settings or more. Demsar 2006, JMLR 7.",
    ),
    Metric(
        "compression",
        "The requested compression ratio: prunable weights over weights to keep, so that 10 keeps one "
        "weight in ten. Compression ratio 10 is density 0.1 and sparsity 0.9.",
        legend="prunable weights over kept weights, as requested; achieved is counted in the masks; "
        "effective counts a kept weight only if it lies on a path of kept weights from input to output",
        table="details",
        always=True,
        of_board=lambda at: at.point.compression,
        show=compression,
    ),
    *SIZES,
    *POINT_COSTS,
    *MEASURED,
    Metric(
        "n",
        "The number of seeds that finished.",
        key="n",
        table="details",
        always=True,
        of_board=lambda at: len(at.point.top1),
    ),
    Metric(
        "to best",
        "Accuracy of the row minus that of the best at the same compression, in percentage points, "
        f"{_TOGETHER}.",
        legend=f"accuracy minus that of the best, in points, {_TOGETHER}",
        key="to_best",
        parts=SIMULTANEOUS,
        table="details",
        of_board=lambda at: at.point.to_best,
        cell=lambda at: "best" if at.point.standing == "best" else difference(at.point.to_best),
    ),
    Metric(
        "uncorrected",
        "Accuracy of the row minus that of the best at the same compression, in percentage points: "
        f"{OVER_SEEDS}.",
        legend=f"the same difference: {OVER_SEEDS}",
        key="to_best_uncorrected",
        parts=INTERVAL,
        table="details",
        of_board=lambda at: at.point.to_best_uncorrected,
        show=difference,
    ),
    Metric(
        "seeds needed",
        "The number of seeds with which this row would be separated from the best at this compression; "
        "see AUC seeds needed.",
        legend="seeds that would separate an undecided row from the best",
        key="seeds_needed",
        table="details",
        of_board=lambda at: at.point.seeds_needed,
        cell=lambda at: _needed(at.point.seeds_needed, at.point.standing, at.point.to_best),
    ),
    Metric(
        "to baseline",
        "Accuracy of the row minus that of the baseline at the same compression, in "
        f"percentage points: {OVER_SEEDS}. The dense network as baseline is compared at its only "
        "compression, 1.",
        legend="accuracy minus that of the baseline, in points",
        key="to_baseline",
        parts=INTERVAL,
        table="details",
        of_board=lambda at: at.point.to_baseline,
        show=difference,
    ),
    *ABLATION_DELTAS,
    Metric(
        "collapsed",
        "Layers without any effective weight, and in how many seeds. A flag, not a failure.",
        legend="layers without any effective weight, and in how many seeds",
        key="collapsed_layers",
        table="details",
        is_text=True,
        of_record=lambda record: ";".join(record.metrics.collapsed_layers) if record.metrics else None,
        of_board=lambda at: ";".join(f"{each.layer}:{each.seeds}" for each in at.point.collapsed),
        cell=lambda at: ", ".join(
            f"{each.layer} {each.seeds}/{len(at.point.top1)}" for each in at.point.collapsed
        ),
        record_text=lambda record: _layers(record) or "no layer",
    ),
    Metric(
        "notes",
        "The numbers of cells that failed, were skipped or diverged.",
        table="details",
        is_text=True,
        cell=_notes,
    ),
    Metric(
        "failed",
        "Cells that ended in an error; the reason is below the board.",
        key="failed",
        of_board=lambda at: at.point.failed,
    ),
    Metric(
        "skipped",
        "Cells that could not start because data are missing, or because the method is not defined for the "
        "network at that compression; the reason is below the board.",
        key="skipped",
        of_board=lambda at: at.point.skipped,
    ),
    Metric(
        "diverged",
        "Finished cells whose training loss became infinite or NaN; averaged like all others.",
        key="diverged",
        of_record=measured("diverged"),
        of_board=lambda at: at.point.diverged,
        show=lambda diverged: "yes" if diverged else "no",
    ),
    Term(
        "preliminary",
        "A board on which no competing row has three seeds at all of the compressions of the AUC, or where "
        "these are fewer than five: too little to publish. It has no ranks and takes no part in the "
        "overall rank.",
    ),
    Term(
        "not defined",
        "A method that its paper or its official code does not define for the network at that "
        "compression. Such cells are not run. A row that lacks a compression of the AUC for it is shown "
        "and not ranked; a row without any other cell is named below the board.",
    ),
    Term(
        "published",
        "Numbers from a paper, shown apart and never ranked with ours. Their metric is named: max_test is "
        "the best test top-1 over all epochs, which is chosen on the test set and higher than that of the "
        "final epoch.",
    ),
    Term(
        "digest",
        "The first 12 hex digits of the sha256 over the keys of all records of the board and the sha256 of "
        "their files. It changes with any change in any record, however small.",
    ),
    Term(
        "revision",
        "The number that the author of a pruner raises when its results change; records of older revisions "
        "are left out.",
    ),
    Term(
        "setting", "Dataset, network, recipe, protocol and pruning options; eight hex digits of their sha256."
    ),
    *RECORD_TERMS,
)
METRICS = {term.name: term for term in GLOSSARY if isinstance(term, Metric)}
BOARD_METRICS = tuple(metric for metric in METRICS.values() if metric.key and metric.of_board)
RECORD_METRICS = tuple(
    sorted((each for each in METRICS.values() if each.of_record), key=lambda each: bool(each.of_board))
)
"""The metrics of a record; those that no board shows come first."""
AVERAGED = {each.key: each.of_record for each in RECORD_METRICS if each.of_record and each.parts}
"""Key -> the value in a record, of all metrics that are averaged over seeds."""
EXPLANATIONS = {term.name: term.definition for term in GLOSSARY}
"""Term -> its definition: those of boards, then those of single records."""


def explain(name: str) -> str:
    """Return the definition of one term; the name of a column in CSV will do.

    Raises:
        UnknownNameError: There is no such term.
    """
    wanted = name.strip().lower().replace("_", " ")
    for term in GLOSSARY:
        names = {term.name.lower(), term.name.lower().replace("-", " ")}
        if isinstance(term, Metric) and term.key:
            names |= {column.replace("_", " ") for column in (term.key, *term.columns)}
        if wanted in names:
            return term.definition
    lists = "`synflow-bench leaderboard --explain` lists them"
    raise UnknownNameError("number", name, EXPLANATIONS, lists)
