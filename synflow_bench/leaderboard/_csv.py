"""Boards in long form: one line a row and compression, numbers in full precision, accuracies as shares."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from synflow_bench.leaderboard._board import Board, Entry, Row


def render(boards: Sequence[Board]) -> str:
    """All boards in one table with a header line; a number that is not there is empty."""
    lines = [_line(board, row, entry) for board in boards for row in board.rows for entry in row.entries]
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
    "row_intact_to",
    "smoke_run",
)


def _line(board: Board, row: Row, entry: Entry) -> dict[str, Any]:
    return dict(zip(COLUMNS, [*_names(board, row), *_numbers(entry), *_summary(board, row)], strict=True))


def _names(board: Board, row: Row) -> list[Any]:
    setting = board.setting
    return [board.id, setting.dataset, setting.model.name, row.label, row.pruner, row.ablation, row.revision]


def _numbers(entry: Entry) -> list[Any]:
    accuracy = entry.accuracy
    return [
        entry.compression,
        ";".join(map(str, entry.top1)),
        len(entry.top1),
        accuracy and accuracy.mean,
        accuracy and accuracy.half_width,
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
    area = row.area
    return [area and area.mean, area and area.half_width, row.intact_to, str(board.is_smoke_run).lower()]
