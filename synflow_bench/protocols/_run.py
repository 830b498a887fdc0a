"""A cell in, a record out, whatever happens."""

from __future__ import annotations

import time
import traceback

import torch

from synflow_bench.errors import DataMissingError, HandledError
from synflow_bench.protocols._bench import Bench
from synflow_bench.protocols._multishot import multishot
from synflow_bench.protocols._provenance import plugins_of, provenance_of
from synflow_bench.protocols._singleshot import singleshot
from synflow_bench.protocols._stages import Outcome
from synflow_bench.records import Failure, Metrics, Provenance, Record, Timing, key_of
from synflow_bench.suites import Cell, Multishot, Singleshot
from synflow_bench.training import OnEpoch


def run_cell(cell: Cell, bench: Bench, on_epoch: OnEpoch = lambda _: None) -> Record:
    """Run `cell` on `bench`. What goes wrong becomes a failed record; a missing data set a skipped one."""
    started = time.perf_counter()
    plugins = plugins_of(cell, bench.host)
    with torch.random.fork_rng(devices=[bench.device] if bench.device.type == "cuda" else []):
        try:
            outcome = _follow(cell, bench, on_epoch)
        except (Exception, SystemExit) as error:  # a plugin that exits ends its cell, not the run
            return failed_record(cell, error, provenance_of(bench.device, bench.threads, plugins))
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
            total_seconds=time.perf_counter() - started,
        ),
        provenance=provenance_of(bench.device, bench.threads, plugins, outcome.score_dtype),
        masks=outcome.masks.sha256,
    )


def _follow(cell: Cell, bench: Bench, on_epoch: OnEpoch) -> Outcome:
    match cell.setting.protocol:
        case Multishot() as protocol:
            return multishot(cell, protocol, bench, on_epoch)
        case Singleshot():
            return singleshot(cell, bench, on_epoch)


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
