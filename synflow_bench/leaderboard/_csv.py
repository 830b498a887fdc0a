"""Boards in long form: one line a row and compression, numbers in full precision, accuracies as shares."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import chain
from typing import Any, get_args

from synflow_bench.leaderboard._board import Board, Entry, Leaderboard, Overall, Row
from synflow_bench.leaderboard._published import PublishedTable
from synflow_bench.leaderboard._statistics import Estimate
from synflow_bench.suites import Ablation

ABLATIONS = [name for name in get_args(Ablation) if name != "none"]


def render(page: Leaderboard) -> str:
    """All boards in one table with a header line; a number that is not there is empty.

    Ablated rows have lines too. Published accuracies follow, with their metric and citation.
    """
    lines = [
        _line(board, row, entry, page)
        for board in page.boards
        for row in (*board.rows, *board.ablated)
        for entry in row.entries
    ]
    lines += [line for table in page.published for line in _published(table)]
    sink = io.StringIO()
    writer = csv.DictWriter(sink, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return sink.getvalue()


COLUMNS = (
    "setting",
    "dataset",
    "model",
    "row",
    "pruner",
    "ablation",
    "revision",
    "compression",
    "seeds",
    "n",
    "final_epoch_test_top1_mean",
    "final_epoch_test_top1_t95_half_width",
    "standing",
    "achieved_compression_mean",
    "effective_compression_mean",
    "theoretical_speedup_mean",
    "prune_seconds_mean",
    "collapsed_layers",
    "diverged",
    "failed",
    "skipped",
    "row_area_mean",
    "row_area_t95_half_width",
    "row_area_to_best_mean",
    "row_area_to_best_t95_half_width",
    "row_area_to_baseline_mean",
    "row_area_to_baseline_t95_half_width",
    "row_intact_to",
    "smoke_run",
    "row_rank",
    "row_overall_rank_mean",
    "row_overall_rank_low",
    "row_overall_rank_high",
    "to_best_mean",
    "to_best_t95_half_width",
    "baseline",
    "to_baseline_mean",
    "to_baseline_t95_half_width",
    *(f"{name.replace('-', '_')}_gap_{part}" for name in ABLATIONS for part in ("mean", "t95_half_width")),
    "records",
    "digest",
    "metric",
    "published_top1_mean",
    "published_top1_t95_half_width",
    "citation",
)


def _line(board: Board, row: Row, entry: Entry, page: Leaderboard) -> dict[str, Any]:
    cells = [
        *_names(board, row),
        *_numbers(entry),
        *_summary(board, row),
        *_ranks(row, page.overall),
        *_comparisons(board, entry),
        *(board.records, board.digest, "final_epoch", None, None, None),
    ]
    return dict(zip(COLUMNS, cells, strict=True))


def _names(board: Board, row: Row) -> list[Any]:
    setting = board.setting
    return [board.id, setting.dataset, setting.model.name, row.label, row.pruner, row.ablation, row.revision]


def _numbers(entry: Entry) -> list[Any]:
    return [
        entry.compression,
        ";".join(map(str, entry.top1)),
        len(entry.top1),
        *_estimate(entry.accuracy),
        entry.standing,
        entry.achieved_compression,
        entry.effective_compression,
        entry.theoretical_speedup,
        entry.prune_seconds,
        ";".join(f"{layer.layer}:{layer.seeds}" for layer in entry.collapsed),
        entry.diverged,
        entry.failed,
        entry.skipped,
    ]


def _summary(board: Board, row: Row) -> list[Any]:
    areas = (row.area, row.area_to_best, row.area_to_baseline)
    return [*chain(*map(_estimate, areas)), row.intact_to, str(board.is_smoke_run).lower()]


def _estimate(value: Estimate | None) -> list[float | None]:
    return [value.mean, value.half_width] if value else [None, None]


def _ranks(row: Row, overall: Overall | None) -> list[float | None]:
    ranks = overall.rows if overall else ()
    found = next((rank for rank in ranks if rank.label == row.label), None)
    return [row.rank, *((found.mean, found.low, found.high) if found else (None, None, None))]


def _comparisons(board: Board, entry: Entry) -> list[Any]:
    gaps = [cell for name in ABLATIONS for cell in _estimate(entry.gaps.get(name))]
    return [*_estimate(entry.to_best), board.baseline, *_estimate(entry.to_baseline), *gaps]


def _published(table: PublishedTable) -> Iterator[dict[str, Any]]:
    names = {"dataset": table.dataset, "model": table.model, "metric": table.metric}
    for row in table.rows:
        for compression, accuracy in row.accuracy.items():
            yield {
                **names,
                "row": row.label,
                "pruner": row.pruner,
                "compression": compression,
                "n": accuracy.n,
                "published_top1_mean": accuracy.mean,
                "published_top1_t95_half_width": accuracy.half_width,
                "citation": table.citation,
            }
