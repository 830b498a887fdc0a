"""Every number and term of a leaderboard, declared once.

All tables, CSV, JSON, the site, legends and `leaderboard --explain` are made from `GLOSSARY`: to add a
number, add a metric here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from synflow_bench.errors import UnknownNameError
from synflow_bench.leaderboard.formatting import (
    BLANK,
    TableCell,
    compression,
    difference,
    estimate,
    factor,
    percentage,
    seconds,
    significant,
)
from synflow_bench.leaderboard.metric import INTERVAL, AnyResult, Metric, Position, Term
from synflow_bench.records import printable
from synflow_bench.suites import Ablation


def _accuracy(at: Position) -> TableCell:
    if at.point.accuracy is None:
        return TableCell("failed" if at.point.failed else "skipped")
    return estimate(at.point.accuracy, len(at.board.seeds), at.point.standing)


def _measured(name: str) -> Callable[[AnyResult], Any]:
    return lambda record: getattr(record.metrics, name, getattr(record.timing, name, None))


def _averaged(key: str, of_record: Callable[[AnyResult], Any]) -> dict[str, Any]:
    """Return what all metrics share that are averaged over seeds in the table of details."""
    common = {"key": key, "parts": ("mean",), "table": "details", "of_record": of_record}
    return {**common, "of_board": lambda at: at.point.means[key]}


def _recorded(name: str, key: str, show: Callable[[Any], str], definition: str) -> Metric:
    """Return a metric that only the page of a record shows."""
    return Metric(name, definition, key=key, of_record=_measured(key), show=show)


def _effective(record: AnyResult) -> str:
    reason = record.metrics.not_followed if record.metrics else None
    return printable(reason) if reason else factor(_measured("effective_compression")(record))


def _layers(record: AnyResult) -> str:
    return ", ".join(map(printable, record.metrics.collapsed_layers)) if record.metrics else BLANK


def _notes(at: Position) -> str:
    counts = {"failed": at.point.failed, "skipped": at.point.skipped, "diverged": at.point.diverged}
    return ", ".join(f"{number} {status}" for status, number in counts.items() if number)


_OVER_SEEDS = "the mean difference over the seeds that both have ± the half-width of its 95 % t-interval"

_ABLATIONS = {
    "shuffle": (
        "with its mask permuted inside each layer",
        "About zero: the pruner has found layer densities, and not which weights matter. Su et al. 2020, "
        "arXiv 2009.11094; Frankle et al. 2021, arXiv 2009.08576.",
    ),
    "reinit": (
        "with new initial weights after pruning",
        "About zero: the mask does not depend on the weights for which it was made. Frankle et al. 2021, "
        "arXiv 2009.08576.",
    ),
    "invert": (
        "when it keeps the weights of the lowest scores",
        "About zero: the scores order nothing. Frankle et al. 2021, arXiv 2009.08576.",
    ),
    "random-labels": (
        "with scores computed on random labels",
        "About zero: the labels do not matter. Su et al. 2020, arXiv 2009.11094.",
    ),
    "random-inputs": (
        "with scores computed on random inputs",
        "About zero: the inputs do not matter. Su et al. 2020, arXiv 2009.11094.",
    ),
}
"""Ablation -> its description, and the reading of its delta."""


def _delta(name: str, *, of_auc: bool) -> Metric:
    changed, reading = _ABLATIONS[name]
    number, prefix, key = ("AUC", "AUC ", "auc_") if of_auc else ("accuracy", "", "")
    return Metric(
        name=f"{prefix}{name} delta",
        key=f"{key}{name.replace('-', '_')}_delta",
        definition=f"Ablation delta: {number} of the plain row minus that of the same pruner {changed}, in "
        f"percentage points: {_OVER_SEEDS}. {reading}",
        legend=f"{number} minus that of the same pruner {changed}, in points",
        parts=INTERVAL,
        table="accuracy" if of_auc else "details",
        of_board=lambda at: (at.row.auc_deltas if of_auc else at.point.deltas).get(name),
        show=difference,
    )


_ALL_ABLATIONS = [name for name in get_args(Ablation) if name != "none"]

GLOSSARY: tuple[Term, ...] = (
    Metric(
        "accuracy",
        "Test top-1 after the final epoch, never the best epoch. The mean over the seeds that finished, ± "
        "the half-width of its 95 % t-interval: t(n - 1) s / sqrt(n), where s is the standard deviation "
        "over seeds (n - 1 in the denominator) and t the 97.5 % quantile of Student's distribution. Failed "
        "and skipped cells are listed below the board and never averaged. In percent in tables; CSV, JSON "
        "and Parquet hold shares.",
        legend="test top-1 after the final epoch, in percent: mean over seeds ± half-width of its 95 % "
        "t-interval",
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
        "The comparison with the best row at the same compression: best, tie, undecided or worse; empty "
        "where no best can be named.",
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
        "tie",
        "Not distinguishable from the best: the 95 % t-interval of the difference, paired by seed, "
        "contains zero. There is no correction for many comparisons: of twenty rows as good as the best, "
        "one is expected to be called worse.",
        legend="not distinguishable from the best: the 95 % t-interval of the difference, paired by seed, "
        "contains zero (no correction for many comparisons)",
    ),
    Term(
        "undecided",
        "Fewer than two seeds in common with the best, so that nothing can be said; or the 95 % t-interval "
        "of the difference from the best, paired by seed, lies above zero, in a row that lacks seeds by "
        "which the best was chosen, or has more of them.",
        legend="fewer than two seeds in common with the best, or better than it over the common seeds",
    ),
    Term("worse", "The 95 % t-interval of the difference from the best, paired by seed, lies below zero."),
    Metric(
        "rank",
        "One plus the number of rows with a larger mean AUC. Only rows that compete and have the AUC of "
        "three seeds or more are counted; a preliminary board has no ranks. The marks at the AUCs show "
        "which differences may be chance.",
        legend="1 for the largest AUC, among rows with the AUC of three seeds or more",
        key="rank",
        table="accuracy",
        of_board=lambda at: at.row.rank,
        show=lambda rank: str(rank) if rank else BLANK,
    ),
    Metric(
        "AUC",
        "The area under the curve of accuracy against log compression by the trapezoidal rule, divided by "
        "the width of the range: an accuracy averaged over log compression. It is computed over the "
        "compressions above 1 that most competing rows have with three seeds or more, all of them "
        "together; further compressions of other rows are named below the board. Computed for each seed "
        "that has all of these compressions; mean ± half-width of its 95 % t-interval over those seeds.",
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
        f"AUC of the row minus the best AUC, in percentage points: {_OVER_SEEDS}. The best AUC is chosen as "
        "the best accuracy is. Where the interval contains zero, the order of the two may be chance.",
        legend="AUC minus that of the row with the best AUC, in points, compared as accuracies are",
        key="auc_to_best",
        parts=INTERVAL,
        table="accuracy",
        of_board=lambda at: at.row.auc_to_best,
        cell=lambda at: "best" if at.row.auc_standing == "best" else difference(at.row.auc_to_best),
    ),
    Metric(
        "AUC to baseline",
        f"AUC of the row minus that of the row named by --baseline, in percentage points: {_OVER_SEEDS}. "
        "The dense network has no AUC.",
        legend="AUC minus that of the row named by --baseline, in points",
        key="auc_to_baseline",
        parts=INTERVAL,
        table="accuracy",
        of_board=lambda at: at.row.auc_to_baseline,
        show=difference,
    ),
    Metric(
        "critical compression",
        "The largest compression up to which no seed lost a whole layer: neither at it nor at any smaller "
        "one on the board is there a layer without weights on a path of kept weights from input to output. "
        "Tanaka et al. 2020, arXiv 2006.05467.",
        legend="largest compression up to which no seed lost a whole layer",
        key="critical_compression",
        table="accuracy",
        always=True,
        of_board=lambda at: at.row.critical_compression,
        show=compression,
    ),
    *(_delta(name, of_auc=True) for name in _ALL_ABLATIONS),
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
    Metric(
        "achieved",
        "Prunable weights over kept weights, as counted in the masks; mean over seeds.",
        **_averaged("achieved_compression", _measured("compression")),
        show=factor,
    ),
    Metric(
        "effective",
        "Prunable weights over kept weights that lie on a path of kept weights from input to output; mean "
        "over seeds. Vysogorets & Kempe 2023, Connectivity matters: neural network pruning through the "
        "lens of effective sparsity, arXiv 2107.02306. Absent where the network cannot be traced, or where "
        "some seed has no such weight left.",
        **_averaged("effective_compression", _measured("effective_compression")),
        show=factor,
        record_text=_effective,
    ),
    Metric(
        "speedup",
        "Dense over kept multiply-accumulates of one forward pass; mean over seeds. Theoretical: masks "
        "simulate sparsity, nothing runs faster.",
        legend="theoretical: dense over kept multiply-accumulates; masks simulate sparsity, nothing runs "
        "faster",
        **_averaged("theoretical_speedup", _measured("theoretical_speedup")),
        show=factor,
    ),
    Metric(
        "prune s",
        "Wall-clock seconds of pruning on the machine that the record names; mean over seeds.",
        legend="wall-clock seconds of pruning, mean over seeds",
        **_averaged("prune_seconds", _measured("prune_seconds")),
        show=seconds,
    ),
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
        "Accuracy of the row minus that of the best at the same compression, in percentage points: "
        f"{_OVER_SEEDS}.",
        legend=f"accuracy minus that of the best, in points: {_OVER_SEEDS}",
        key="to_best",
        parts=INTERVAL,
        table="details",
        of_board=lambda at: at.point.to_best,
        cell=lambda at: "best" if at.point.standing == "best" else difference(at.point.to_best),
    ),
    Metric(
        "to baseline",
        "Accuracy of the row minus that of the row named by --baseline at the same compression, in "
        f"percentage points: {_OVER_SEEDS}. The dense network as baseline is compared at its only "
        "compression, 1.",
        legend="accuracy minus that of the row named by --baseline, in points",
        key="to_baseline",
        parts=INTERVAL,
        table="details",
        of_board=lambda at: at.point.to_baseline,
        show=difference,
    ),
    *(_delta(name, of_auc=False) for name in _ALL_ABLATIONS),
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
        "Cells that could not start because data are missing; the reason is below the board.",
        key="skipped",
        of_board=lambda at: at.point.skipped,
    ),
    Metric(
        "diverged",
        "Finished cells whose training loss became infinite or NaN; averaged like all others.",
        key="diverged",
        of_record=_measured("diverged"),
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
    _recorded(
        "test top-1",
        "test_top1",
        percentage,
        "The share of the test set that is classified correctly after the final epoch.",
    ),
    _recorded(
        "test top-5",
        "test_top5",
        percentage,
        "The share of the test set whose class is among the network's first five answers, after the final "
        "epoch.",
    ),
    _recorded("test loss", "test_loss", significant, "The mean cross-entropy on the test set, in nats."),
    _recorded(
        "validation top-1",
        "val_top1",
        percentage,
        "The share of the validation split of the training set that is classified correctly.",
    ),
    _recorded(
        "best epoch",
        "max_test_top1",
        percentage,
        "The highest test top-1 of any epoch, chosen on the test set: only for comparison with "
        "publications that report it.",
    ),
    _recorded("untrained", "init_top1", percentage, "Test top-1 after pruning and before any training."),
    _recorded(
        "density",
        "density",
        lambda density: percentage(density, 3),
        "Kept weights over prunable weights, of the network or of one layer.",
    ),
    _recorded(
        "over all parameters",
        "compression_all",
        factor,
        "All parameters over those that are left; those that cannot be pruned count in both.",
    ),
    _recorded(
        "train s",
        "train_seconds",
        seconds,
        "Wall-clock seconds of training and evaluation on the machine that the record names.",
    ),
    _recorded(
        "total s",
        "total_seconds",
        seconds,
        "Wall-clock seconds of the whole cell, including pruning, training and evaluation, on the machine "
        "that the record names.",
    ),
    Term(
        "training loss",
        "The mean cross-entropy over the batches of an epoch, in nats; with label smoothing where the "
        "recipe has it.",
    ),
    Term("kept", "Weights that the mask keeps, of all weights of the layer."),
    Term("on a path", "Kept weights that lie on a path of kept weights from input to output."),
    Term(
        "MACs",
        "Multiply-accumulates of the layer's dense form in one forward pass of one example. The speedup is "
        "the share of them that masks would save.",
    ),
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
    raise UnknownNameError("number", name, EXPLANATIONS)
