"""What becomes of a cell's outcome, or of its failure."""

from __future__ import annotations

import traceback

from synflow_bench.errors import DataMissingError, HandledError
from synflow_bench.protocols._stages import Outcome
from synflow_bench.records import Failure, Metrics, Provenance, Record, Timing, key_of
from synflow_bench.suites import Cell


def record_of(cell: Cell, outcome: Outcome, seconds: float, provenance: Provenance) -> Record:
    """The record of a cell that went well."""
    return Record(
        key=key_of(cell),
        status="ok",
        cell=cell,
        metrics=_metrics(outcome),
        layers=outcome.size.layers,
        curve=outcome.trained.curve,
        levels=outcome.levels,
        timing=Timing(
            prune_seconds=outcome.prune_seconds,
            train_seconds=outcome.train_seconds,
            total_seconds=seconds,
        ),
        provenance=provenance,
        masks=outcome.masks.sha256,
    )


def _metrics(outcome: Outcome) -> Metrics:
    final, curve, size = outcome.trained.final, outcome.trained.curve, outcome.size
    return Metrics(
        test_top1=final.top1,
        test_top5=final.top5,
        test_loss=final.loss,
        val_top1=curve[-1].val_top1,
        max_test_top1=max(point.test_top1 for point in curve),
        init_top1=curve[0].test_top1,
        density=size.density,
        compression=size.compression,
        compression_all=size.compression_all,
        effective_compression=size.effective_compression,
        not_followed=size.not_followed,
        theoretical_speedup=size.theoretical_speedup,
        collapsed_layers=size.collapsed_layers,
        diverged=outcome.trained.diverged,
    )


def failed_record(cell: Cell, error: BaseException, provenance: Provenance) -> Record:
    """The record of a cell that `error` has ended."""
    handled = isinstance(error, HandledError)
    message = " ".join(str(error).split()) or type(error).__name__
    return Record(
        key=key_of(cell),
        status="skipped" if isinstance(error, DataMissingError) else "failed",
        cell=cell,
        provenance=provenance,
        error=Failure(
            kind=type(error).__name__,
            message=message,
            traceback=None if handled else "".join(traceback.format_exception(error)),
        ),
    )
