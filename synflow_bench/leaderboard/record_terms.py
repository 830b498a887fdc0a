"""Numbers and terms that only the page of a single record shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from synflow_bench.leaderboard.formatting import percentage, seconds, significant
from synflow_bench.leaderboard.metric import AnyResult, Metric, Term
from synflow_bench.records import Metrics


def measured(name: str) -> Callable[[AnyResult], Any]:
    """Return the function that takes a number from the metrics or the timing of a record."""
    # A missing attribute of a model is found slowly.
    part = "metrics" if name in Metrics.model_fields else "timing"
    return lambda record: getattr(getattr(record, part), name, None)


def _recorded(name: str, key: str, show: Callable[[Any], str], definition: str) -> Metric:
    """Return a metric that only the page of a record shows."""
    return Metric(name, definition, key=key, of_record=measured(key), show=show)


RECORD_TERMS: tuple[Term, ...] = (
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
