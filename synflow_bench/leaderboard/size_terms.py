"""Sizes and costs of pruned networks, averaged over seeds, as numbers of a board."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from synflow_bench.leaderboard.formatting import factor, seconds
from synflow_bench.leaderboard.metric import AnyResult, Metric
from synflow_bench.leaderboard.record_terms import measured
from synflow_bench.records import printable


def _averaged(key: str, of_record: Callable[[AnyResult], Any]) -> dict[str, Any]:
    """Return what all metrics share that are averaged over seeds in the table of details."""
    common = {"key": key, "parts": ("mean",), "table": "details", "of_record": of_record}
    return {**common, "of_board": lambda at: at.point.means[key]}


def _effective(record: AnyResult) -> str:
    reason = record.metrics.not_followed if record.metrics else None
    return printable(reason) if reason else factor(measured("effective_compression")(record))


SIZES: tuple[Metric, ...] = (
    Metric(
        "achieved",
        "Prunable weights over kept weights, as counted in the masks; mean over seeds.",
        **_averaged("achieved_compression", measured("compression")),
        show=factor,
    ),
    Metric(
        "over all parameters",
        "All parameters over those that are left; those that cannot be pruned count in both; mean over "
        "seeds.",
        **_averaged("compression_all", measured("compression_all")),
        show=factor,
    ),
    Metric(
        "effective",
        "Prunable weights over kept weights that lie on a path of kept weights from input to output; mean "
        "over seeds. Vysogorets & Kempe 2023, Connectivity matters: neural network pruning through the "
        "lens of effective sparsity, arXiv 2107.02306. Weights that meet only padding are on no path. "
        "Absent where the network cannot be traced, or where some seed has no such weight left.",
        **_averaged("effective_compression", measured("effective_compression")),
        show=factor,
        record_text=_effective,
    ),
    Metric(
        "speedup",
        "Multiply-accumulates of one forward pass of the dense network over those of the weights that lie "
        "on a path of kept weights from input to output; mean over seeds. Absent where some seed has no "
        "path left. Theoretical: masks simulate sparsity, nothing runs faster.",
        legend="theoretical: multiply-accumulates of the dense network over those on paths that are left; "
        "masks simulate sparsity, nothing runs faster",
        **_averaged("theoretical_speedup", measured("theoretical_speedup")),
        show=factor,
    ),
    Metric(
        "prune s",
        "Wall-clock seconds of pruning on the machine that the record names; mean over seeds.",
        legend="wall-clock seconds of pruning, mean over seeds",
        **_averaged("prune_seconds", measured("prune_seconds")),
        show=seconds,
    ),
)
