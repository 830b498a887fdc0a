"""The record of a cell: made from the outcome of its protocol, or from the error that ended it."""

from __future__ import annotations

import platform
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import torch

from synflow_bench import __version__
from synflow_bench.errors import DataMissingError, HandledError, NotDefinedError, one_line
from synflow_bench.host import Host
from synflow_bench.protocols.context import Outcome
from synflow_bench.pruning import Pruner
from synflow_bench.records import Engine, Failure, Metrics, Provenance, Record, Timing, key_of
from synflow_bench.suites import Cell, Revisions, Setting
from synflow_bench.training import algorithms, describe


def record_of(cell: Cell, outcome: Outcome, seconds: float, provenance: Provenance) -> Record:
    """Make the record of a cell that has finished.

    Args:
        seconds: The time of the whole cell; its share, in a batch.
        provenance: The provenance, with warnings that are not those of the pruning.
    """
    return Record(
        key=key_of(cell),
        status="ok",
        cell=cell,
        metrics=_metrics(outcome),
        layers=outcome.size.layers,
        left_out=outcome.size.left_out,
        curve=outcome.trained.curve,
        levels=outcome.levels,
        timing=Timing(
            prune_seconds=outcome.prune_seconds,
            train_seconds=outcome.train_seconds,
            total_seconds=seconds,
        ),
        cost=outcome.cost,
        provenance=provenance.model_copy(update={"warnings": (*outcome.warnings, *provenance.warnings)}),
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


_NO_MEMORY = (
    "; fewer cells at a time on the GPU, smaller batches, fewer examples_per_class or bf16 need less memory"
)


def failed_record(cell: Cell, error: BaseException, provenance: Provenance) -> Record:
    """Make the record of a cell that `error` has ended.

    The status is `skipped` if the data are missing or the method is not defined there, else `failed`.

    The traceback is kept unless the error is a `HandledError`.
    """
    handled = isinstance(error, HandledError | torch.OutOfMemoryError)
    advice = _NO_MEMORY if isinstance(error, torch.OutOfMemoryError) else ""
    return Record(
        key=key_of(cell),
        status="skipped" if isinstance(error, DataMissingError | NotDefinedError) else "failed",
        cell=cell,
        provenance=provenance,
        error=Failure(
            kind=type(error).__name__,
            message=one_line(error, with_type=False) + advice,
            traceback=None if handled else "".join(traceback.format_exception(error)),
        ),
    )


def provenance_of(
    device: torch.device,
    threads: int,
    plugins: Mapping[str, str],
    score_dtype: str | None = None,
    engine: Engine | None = None,
) -> Provenance:
    """Return the provenance of a record that this process makes now."""
    return Provenance(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        synflow_bench=__version__,
        torch=torch.__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        device=_processor() if device.type == "cpu" else describe(device),
        threads=threads,
        score_dtype=score_dtype,
        engine=engine,
        algorithms=algorithms(device),
        plugins=dict(plugins),
    )


def plugins_of(cell: Cell, host: Host) -> dict[str, str]:
    """Return the distributions and versions that `cell` uses, by `dataset`, `model` and `pruner`."""
    setting = cell.setting
    used = {"dataset": (host.datasets, setting.dataset_name), "model": (host.models, setting.model.name)}
    if not cell.is_dense:
        used["pruner"] = (host.pruners, cell.pruner.name)
    entries = {kind: registry.entry(name) for kind, (registry, name) in used.items() if name in registry}
    return {kind: f"{entry.distribution} {entry.version}" for kind, entry in entries.items()}


def revisions_of(setting: Setting, pruner: str | None, host: Host) -> Revisions:
    """Return the present revisions of a pruner, None for the dense network, and of a model and dataset.

    Raises:
        UnknownNameError: One of them is not installed.
        PluginError: One of them cannot be imported.
    """
    kind: type[Pruner] | None = host.pruners.get(pruner) if pruner else None
    of_groups = kind.group_revision if kind and setting.pruning.ranks_groups else 0
    return Revisions(
        pruner=kind.revision + of_groups if kind else 1,
        model=getattr(host.models.get(setting.model.name), "revision", 1),
        dataset=host.dataset_class(setting.dataset).revision,
    )


@cache
def _processor() -> str:
    """Return the model of the processor where Linux reports it; reading it is slow with many cores."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return f"cpu ({platform.machine()})"
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"cpu ({models[0]})" if models else f"cpu ({platform.machine()})"
