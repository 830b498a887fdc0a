"""The definition of every number on a board or a record's page, for `leaderboard --explain`."""

from __future__ import annotations

from synflow_bench.errors import UnknownNameError
from synflow_bench.leaderboard._record_terms import OF_A_RECORD

_GAP = (
    "Accuracy (or area) of the plain row minus that of the same pruner {what}, in points: the mean "
    "difference over the seeds that both have ± half-width of its 95 % t-interval. {reading}"
)

_OF_A_BOARD = {
    "accuracy": (
        "Test top-1 after the final epoch, never the best epoch. Mean over the seeds that finished, ± "
        "the half-width of its 95 % t-interval: t(n - 1) s / sqrt(n), with s the standard deviation over "
        "seeds (n - 1 in the denominator) and t the 97.5 % quantile of Student's distribution. Failed "
        "and skipped cells are listed below the board and never averaged. Percent in tables, shares in "
        "CSV, JSON and Parquet."
    ),
    "seeds": (
        "The repetitions that finished; n is their number. At one seed all pruners share initial "
        "weights, data order and augmentation, so that differences are paired."
    ),
    "best": (
        "The highest mean accuracy at that compression among rows with the same seeds: of all sets of two "
        "seeds or more that two rows or more have finished, the one for which rows times seeds is largest. "
        "Where there is no such set no best is claimed. The dense network and ablations do not compete."
    ),
    "tie": (
        "Not distinguishable from the best: the 95 % t-interval of the difference, paired by seed, "
        "contains zero. Without correction for many comparisons: of twenty rows as good as the best, one "
        "is expected to be called worse."
    ),
    "undecided": (
        "Fewer than two seeds in common with the best, so nothing can be said; or the 95 % t-interval of the "
        "difference from the best, paired by seed, lies above zero, in a row that lacks seeds which the best "
        "was chosen by, or has more of them."
    ),
    "worse": "The 95 % t-interval of the difference from the best, paired by seed, lies below zero.",
    "to best": (
        "Accuracy of the row minus that of the best at the same compression, in points: the mean difference "
        "over the seeds that both have ± half-width of its 95 % t-interval."
    ),
    "to baseline": (
        "Accuracy of the row minus that of the row which --baseline names, at the same compression, in "
        "points: the mean difference over the seeds that both have ± half-width of its 95 % t-interval. The "
        "dense network as baseline is compared at its only compression, 1."
    ),
    "area": (
        "The area under accuracy against log compression by the trapezoidal rule, divided by the width of "
        "the range: an accuracy averaged over log compression. It is over the compressions above 1 that most "
        "competing rows have with three seeds or more, all of them together; what others have besides is "
        "named below the board. Computed for each seed that has all of these compressions; mean ± "
        "half-width of its 95 % t-interval over those seeds."
    ),
    "area to best": (
        "Area of the row minus the best area, in points: the mean difference over the seeds that both have "
        "± half-width of its 95 % t-interval. The best area is chosen as the best accuracy is. Which ranks "
        "are noise is read here: where the interval contains zero, the order of the two may be chance."
    ),
    "area to baseline": (
        "Area of the row minus that of the row which --baseline names, in points: the mean difference over "
        "the seeds that both have ± half-width of its 95 % t-interval. The dense network has no area."
    ),
    "rank": (
        "One plus the number of rows with a larger mean area. Only rows that compete and have the area "
        "of three seeds or more are counted; a smoke run has no ranks. The marks at the areas say which "
        "of them are noise."
    ),
    "overall rank": (
        "The rank by mean area in each setting, averaged over the settings that are no smoke runs; "
        "pruners that some of them lack are left out, equal areas share their ranks. The interval holds "
        "the 2.5 % and 97.5 % percentiles of 2,000 bootstrap resamples of settings, and of seeds within "
        "each setting, with a fixed seed. Of few settings or seeds such intervals are too narrow."
    ),
    "intact to": (
        "The largest compression up to which no seed lost a whole layer: neither at it nor at any "
        "smaller one on the board is a layer without weights on a path of kept weights from input to "
        "output."
    ),
    "compression": (
        "Prunable weights over kept weights: 10 keeps a tenth. The columns of a board are what was asked for "
        "(asked); the masks have achieved, and effective counts only what is connected."
    ),
    "asked": "The compression that the cell asked for: prunable weights over weights to keep.",
    "achieved": "Prunable weights over kept weights, as counted in the masks; mean over seeds.",
    "effective": (
        "Prunable weights over kept weights that lie on a path of kept weights from input to output; "
        "mean over seeds. Vysogorets & Kempe 2023, Connectivity matters: neural network pruning through "
        "the lens of effective sparsity, arXiv 2107.02306. Absent where the network cannot be followed, "
        "or where some seed has no such weight left."
    ),
    "speedup": (
        "Dense over kept multiply-accumulates of one forward pass; mean over seeds. Theoretical: masks "
        "simulate sparsity, nothing runs faster."
    ),
    "prune s": "Wall-clock seconds of pruning on the machine that the record names; mean over seeds.",
    "collapsed": "Layers with no weight (effectively) left, and in how many seeds. A flag, not a failure.",
    "failed": "Cells that ended in an error; the reason is below the board.",
    "skipped": "Cells that could not begin, for lack of data; the reason is below the board.",
    "diverged": "Finished cells whose training loss stopped being a number; averaged like any others.",
    "shuffle gap": _GAP.format(
        what="with its mask permuted inside each layer",
        reading="About zero: the pruner has found layer densities, and not which weights matter. "
        "Su et al. 2020, arXiv 2009.11094; Frankle et al. 2021, arXiv 2009.08576.",
    ),
    "reinit gap": _GAP.format(
        what="with new initial weights after pruning",
        reading="About zero: the mask does not depend on the weights it was made for. Frankle et al. 2021, "
        "arXiv 2009.08576.",
    ),
    "invert gap": _GAP.format(
        what="keeping what has the lowest scores",
        reading="About zero: the scores order nothing. Frankle et al. 2021, arXiv 2009.08576.",
    ),
    "random-labels gap": _GAP.format(
        what="scored on random labels",
        reading="About zero: the labels do not matter. Su et al. 2020, arXiv 2009.11094.",
    ),
    "random-inputs gap": _GAP.format(
        what="scored on random inputs",
        reading="About zero: the inputs do not matter. Su et al. 2020, arXiv 2009.11094.",
    ),
    "smoke run": (
        "A board of which no competing row has three seeds at all of the compressions that areas are over, "
        "or where these are fewer than five: too little to publish. It has no ranks and takes no part in the "
        "overall rank."
    ),
    "published": (
        "Numbers from a paper, shown apart and never ranked with ours. Their metric is named: max_test "
        "is the best test top-1 over all epochs, which is chosen on the test set and higher than the "
        "final epoch's."
    ),
    "digest": (
        "The first 12 hex digits of the sha256 over the keys of all records of the board and the sha256 "
        "of their files: a board whose records changed is never taken for the old one, however small the "
        "change."
    ),
    "revision": "The revision that the pruner's author gave it; records of older revisions are left out.",
    "setting": "Data set, network, recipe, protocol and pruning options; eight hex digits of their sha256.",
}
EXPLANATIONS = {**_OF_A_BOARD, **OF_A_RECORD}
"""Term -> its definition: those of boards, then those of single records."""


def explain(name: str) -> str:
    """The definition of one term; a word for a column will do. Raises `UnknownNameError`."""
    wanted = name.strip().lower().replace("_", " ")
    for term in EXPLANATIONS:
        if wanted in {term.lower(), term.lower().replace("-", " ")}:
            return EXPLANATIONS[term]
    raise UnknownNameError("number", name, EXPLANATIONS)
