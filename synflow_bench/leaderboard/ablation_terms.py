"""The differences of rows from their ablated twins, as numbers of a board."""

from __future__ import annotations

from typing import get_args

from synflow_bench.leaderboard.formatting import difference
from synflow_bench.leaderboard.metric import INTERVAL, Metric
from synflow_bench.suites import Ablation

OVER_SEEDS = (
    "the mean difference over the seeds that both have, with its own interval as accuracies have it: the "
    "95 % t-interval, or the range with fewer than five seeds; not corrected for many comparisons"
)
"""The words for an uncorrected difference."""

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
        f"percentage points: {OVER_SEEDS}. {reading}",
        legend=f"{number} minus that of the same pruner {changed}, in points",
        parts=INTERVAL,
        table="accuracy" if of_auc else "details",
        of_board=lambda at: (at.row.auc_deltas if of_auc else at.point.deltas).get(name),
        show=difference,
    )


_NAMES = [name for name in get_args(Ablation) if name != "none"]
ABLATION_DELTAS = tuple(_delta(name, of_auc=False) for name in _NAMES)
ABLATION_DELTAS_OF_AUC = tuple(_delta(name, of_auc=True) for name in _NAMES)
