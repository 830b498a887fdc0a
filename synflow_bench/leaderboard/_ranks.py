"""Ranks by area: on one board, and over several settings with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from synflow_bench.leaderboard._board import PUBLISHED_SEEDS, Board, Overall, OverallRank, Row

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

RESAMPLES = 2000
SEED = 20260


def with_ranks(board: Board) -> Board:
    """The board with `rank` filled in: 1 and the rows with a larger area, if it is no smoke run.

    Only rows with the area of three seeds or more take part.
    """
    if board.is_smoke_run:
        return board
    areas = [row.area.mean for row in board.rows if row.area and _may_be_ranked(row)]
    rows = (replace(row, rank=_rank(row, areas) if _may_be_ranked(row) else None) for row in board.rows)
    return replace(board, rows=tuple(rows))


def _may_be_ranked(row: Row) -> bool:
    return row.competes and row.area is not None and row.area.n >= PUBLISHED_SEEDS


def _rank(row: Row, areas: Sequence[float]) -> int | None:
    return 1 + sum(area > row.area.mean for area in areas) if row.area else None


def overall(boards: Sequence[Board]) -> Overall | None:
    """Ranks over all boards that are no smoke runs, of the rows that all have; None where something lacks."""
    if overall_lacks(boards):
        return None
    ranked, labels = _ranked(boards), _labels(boards)
    common = _common(labels)
    return Overall(
        settings=tuple(board.heading for board in ranked),
        rows=_rows(common, [_table(board, common) for board in ranked]),
        left_out=tuple(sorted(set[str]().union(*labels) - set(common))),
    )


def overall_lacks(boards: Sequence[Board]) -> str | None:
    """What there is too little of for ranks over settings, in words; None where there is enough."""
    ranked = _ranked(boards)
    if len(ranked) < 2:
        return f"two settings with ranks, and there is {len(ranked) or 'none'}"
    common = _common(_labels(boards))
    if len(common) < 2:
        return f"two rows with ranks in every setting, and there is {len(common) or 'none'}"
    for board in ranked:
        if not _seeds(board, common):
            return f"a seed that all its rows have in common, which {board.heading} lacks"
    return None


def _ranked(boards: Sequence[Board]) -> list[Board]:
    return [board for board in boards if any(row.rank for row in board.rows)]


def _labels(boards: Sequence[Board]) -> list[set[str]]:
    return [{row.label for row in board.rows if row.rank} for board in _ranked(boards)]


def _common(labels: Sequence[set[str]]) -> list[str]:
    return sorted(set[str].intersection(*labels)) if labels else []


def _areas(board: Board, labels: Sequence[str]) -> list[dict[int, float]]:
    return [next(row.areas for row in board.rows if row.label == label) for label in labels]


def _seeds(board: Board, labels: Sequence[str]) -> list[int]:
    return sorted(set[int].intersection(*(set(area) for area in _areas(board, labels))))


def _table(board: Board, labels: Sequence[str]) -> Matrix:
    """The areas of the rows over the seeds that all of them have: (rows, seeds)."""
    import numpy as np

    seeds = _seeds(board, labels)
    return np.array([[area[seed] for seed in seeds] for area in _areas(board, labels)], dtype=np.float64)


def _rows(labels: Sequence[str], tables: Sequence[Matrix]) -> tuple[OverallRank, ...]:
    means = mean_ranks(tables)
    lows, highs = bootstrap(tables)
    ranks = map(OverallRank, labels, means.tolist(), lows.tolist(), highs.tolist())
    return tuple(sorted(ranks, key=lambda rank: (rank.mean, rank.label)))


def mean_ranks(tables: Sequence[Matrix]) -> Matrix:
    """Each row's rank by mean area, averaged over `tables` (rows, seeds); equal areas share their ranks."""
    import numpy as np

    ranks = np.array([_ranks(table.mean(axis=1)[:, None])[:, 0] for table in tables])
    means: Matrix = ranks.mean(axis=0)
    return means


def bootstrap(tables: Sequence[Matrix], resamples: int = RESAMPLES) -> tuple[Matrix, Matrix]:
    """The 2.5 % and 97.5 % percentiles of `mean_ranks` over resampled settings, and in each resampled seeds.

    All rows keep the same settings and seeds in a resample, so the comparison stays paired.
    """
    import numpy as np

    # The stream of RandomState is frozen; that of default_rng may change, and committed boards are compared.
    draw = np.random.RandomState(SEED)
    chosen = draw.randint(len(tables), size=(resamples, len(tables)))
    total = np.zeros((tables[0].shape[0], resamples))
    for index, table in enumerate(tables):
        times, _ = np.nonzero(chosen == index)
        seeds = draw.randint(table.shape[1], size=(len(times), table.shape[1]))
        ranks = _ranks(table[:, seeds].mean(axis=2))
        for row, total_of_row in zip(ranks, total, strict=True):
            total_of_row += np.bincount(times, weights=row, minlength=resamples)
    low, high = np.percentile(total / len(tables), [2.5, 97.5], axis=1)
    return low, high


def _ranks(areas: Matrix) -> Matrix:
    """Ranks down each column of (rows, samples), 1 for the largest; equal ones share the mean of theirs."""
    import numpy as np

    larger = np.zeros(areas.shape)
    for row in areas:
        larger += (row > areas) + 0.5 * (row == areas)
    # Each row equals itself, which counted as half a rank.
    return larger + 0.5
