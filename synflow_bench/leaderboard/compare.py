"""Comparisons between rows: with the best, with a baseline, with ablated twins; and ranks by AUC."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

from synflow_bench.errors import UnknownNameError, UsageError
from synflow_bench.leaderboard.board import (
    RANKED_SEEDS,
    Board,
    BoardRow,
    CurvePoint,
    MeanRank,
    OverallRanking,
)
from synflow_bench.leaderboard.statistics import Estimate, Standing, mean, paired_difference, standing_of
from synflow_bench.suites import canonical

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

BySeed = Mapping[int, float]
Seeds = frozenset[int]

RESAMPLES = 2000
SEED = 20260


def with_standings(rows: Sequence[BoardRow], compressions: Iterable[float]) -> list[BoardRow]:
    """Return the rows with their comparisons with the best row; only rows that compete can be the best."""
    rivals = [row for row in rows if row.competes]
    curves = {value: [point.top1 for row in rivals if (point := row.at(value))] for value in compressions}
    best = {value: _best(candidates) for value, candidates in curves.items()}
    best_aucs = _best([row.aucs for row in rivals])
    return [_with_standing(row, best, best_aucs) if row.competes else row for row in rows]


def _best(candidates: Iterable[BySeed]) -> BySeed | None:
    """Return the candidate with the highest mean over the compared seeds, None where no best can be named.

    Means over different seeds say little: seeds differ more than rows do.
    """
    rivals = [(frozenset(each), each) for each in candidates if len(each) > 1]
    seeds = _compared_seeds([own for own, _ in rivals])
    having_them = [each for own, each in rivals if own >= seeds]
    return max(having_them, key=lambda each: mean([each[seed] for seed in sorted(seeds)])) if seeds else None


def _compared_seeds(rivals: Sequence[Seeds]) -> Seeds:
    """Return the set of at least two seeds, shared by two rows, for which rows times seeds is largest."""
    found = set(rivals)
    shared = found | {one & other for one, other in combinations(found, 2)}
    rows = {seeds: sum(own >= seeds for own in rivals) for seeds in shared if len(seeds) > 1}
    comparable = [seeds for seeds, having in rows.items() if having > 1]
    return max(
        comparable,
        key=lambda seeds: (rows[seeds] * len(seeds), len(seeds), sorted(seeds)),
        default=frozenset(),
    )


def _with_standing(row: BoardRow, best: Mapping[float, BySeed | None], best_aucs: BySeed | None) -> BoardRow:
    points = []
    for point in row.points:
        standing, difference = _compared(point.top1, best[point.compression])
        points.append(replace(point, standing=standing, to_best=difference))
    standing, difference = _compared(row.aucs, best_aucs)
    return replace(row, points=tuple(points), auc_standing=standing, auc_to_best=difference)


def _compared(own: BySeed, best: BySeed | None) -> tuple[Standing | None, Estimate | None]:
    if best is None or not own:
        return None, None
    if own is best:
        return "best", None
    difference = paired_difference(own, best)
    return standing_of(difference), difference


def with_baseline(boards: Iterable[Board], name: str) -> list[Board]:
    """Return the boards with differences from the row `name`; a board without that row stays as it is.

    `name` is the label of a row, or a pruner that has one row. The dense network is compared at its only
    compression, 1, with every compression of the others.
    """
    given = list(boards)
    known = {each for board in given for row in board.rows for each in (row.label, row.pruner)}
    if given and name not in known:
        raise UnknownNameError("recorded row", name, known)
    return [_against_baseline(board, row) if (row := _find(board, name)) else board for board in given]


def _find(board: Board, name: str) -> BoardRow | None:
    labeled = [row for row in board.rows if row.label == name]
    found = labeled or [row for row in board.rows if row.pruner == name]
    if len(found) > 1:
        labels = ", ".join(repr(row.label) for row in found)
        raise UsageError(f"pruner {name!r} has several rows in {board.heading!r}; name one of {labels}")
    return found[0] if found else None


def _against_baseline(board: Board, baseline: BoardRow) -> Board:
    def compared(row: BoardRow) -> BoardRow:
        points = []
        for point in row.points:
            other = baseline.at(1.0 if baseline.is_dense else point.compression)
            difference = paired_difference(point.top1, other.top1) if other else None
            points.append(replace(point, to_baseline=difference))
        auc_to_baseline = paired_difference(row.aucs, baseline.aucs)
        return replace(row, points=tuple(points), auc_to_baseline=auc_to_baseline)

    rows = tuple(row if row is baseline else compared(row) for row in board.rows)
    return replace(board, rows=rows, baseline=baseline.label)


def with_deltas(rows: Iterable[BoardRow]) -> tuple[list[BoardRow], list[BoardRow]]:
    """Return the rows with their ablation deltas, and the ablated rows that became deltas.

    An ablation delta is the loss of a pruner when its mask, weights or data are corrupted: Su et al. 2020
    (Sanity-checking pruning methods, arXiv 2009.11094); Frankle et al. 2021 (Pruning neural networks at
    initialization: why are we missing the mark?, arXiv 2009.08576). An ablated row without a plain row of
    equal pruner, parameters and revision stays a row.
    """
    given = list(rows)
    twins: dict[str, dict[str, BoardRow]] = {_identity(row): {} for row in given if row.ablation == "none"}
    for row in given:
        if row.ablation != "none" and _identity(row) in twins:
            twins[_identity(row)][row.ablation] = row
    folded = [row for found in twins.values() for row in found.values()]
    shown = [row for row in given if not any(row is other for other in folded)]
    return [_with_deltas(row, twins.get(_identity(row), {})) for row in shown], folded


def _identity(row: BoardRow) -> str:
    return canonical([row.pruner, row.parameters, row.revision])


def _with_deltas(row: BoardRow, twins: Mapping[str, BoardRow]) -> BoardRow:
    def deltas(point: CurvePoint) -> dict[str, Estimate]:
        others = {name: other.top1 for name, twin in twins.items() if (other := twin.at(point.compression))}
        return _differences(point.top1, others)

    points = tuple(replace(point, deltas=deltas(point)) for point in row.points) if twins else row.points
    auc_deltas = _differences(row.aucs, {name: twin.aucs for name, twin in twins.items()})
    return replace(row, points=points, auc_deltas=auc_deltas)


def _differences(own: BySeed, others: Mapping[str, BySeed]) -> dict[str, Estimate]:
    found = {name: paired_difference(own, other) for name, other in others.items()}
    return {name: delta for name, delta in found.items() if delta}


def with_ranks(board: Board) -> Board:
    """Return the board with ranks: 1 plus the number of rows with a larger AUC.

    Only rows with the AUC of three seeds or more are ranked, and none on a preliminary board.
    """
    if board.is_preliminary:
        return board
    aucs = [row.auc.mean for row in board.rows if row.auc and _is_ranked(row)]
    rows = (replace(row, rank=_rank(row, aucs) if _is_ranked(row) else None) for row in board.rows)
    return replace(board, rows=tuple(rows))


def _is_ranked(row: BoardRow) -> bool:
    return row.competes and row.auc is not None and row.auc.n >= RANKED_SEEDS


def _rank(row: BoardRow, aucs: Sequence[float]) -> int | None:
    return 1 + sum(auc > row.auc.mean for auc in aucs) if row.auc else None


def overall_ranking(boards: Sequence[Board]) -> OverallRanking | None:
    """Return the ranks over all boards that are not preliminary, of the rows that all of them rank.

    None if something is missing, which `overall_ranking_lacks` describes.
    """
    if overall_ranking_lacks(boards):
        return None
    ranked, common, left_out = _ranked(boards)
    tables = [_auc_table(board, common) for board in ranked]
    lows, highs = bootstrap(tables)
    ranks = map(MeanRank, common, mean_ranks(tables).tolist(), lows.tolist(), highs.tolist())
    return OverallRanking(
        settings=tuple(board.heading for board in ranked),
        ranks=tuple(sorted(ranks, key=lambda rank: (rank.mean, rank.label))),
        left_out=tuple(left_out),
    )


def overall_ranking_lacks(boards: Sequence[Board]) -> str | None:
    """Describe what is missing for ranks over settings; None where nothing is."""
    ranked, common, _ = _ranked(boards)
    if len(ranked) < 2:
        return f"two settings with ranks, and there is {len(ranked) or 'none'}"
    if len(common) < 2:
        return f"two rows with ranks in every setting, and there is {len(common) or 'none'}"
    for board in ranked:
        if not _common_seeds(board, common):
            return f"a seed that all its rows have in common, which {board.heading} lacks"
    return None


def _ranked(boards: Sequence[Board]) -> tuple[list[Board], list[str], list[str]]:
    """Return the boards with ranks, the labels that all of them rank, and those that only some do."""
    labels = {board.id: {row.label for row in board.rows if row.rank} for board in boards}
    ranked = [board for board in boards if labels[board.id]]
    common = set[str].intersection(*(labels[board.id] for board in ranked)) if ranked else set()
    return ranked, sorted(common), sorted(set[str]().union(*labels.values()) - common)


def _aucs(board: Board, labels: Sequence[str]) -> list[dict[int, float]]:
    return [next(row.aucs for row in board.rows if row.label == label) for label in labels]


def _common_seeds(board: Board, labels: Sequence[str]) -> list[int]:
    return sorted(set[int].intersection(*(set(aucs) for aucs in _aucs(board, labels))))


def _auc_table(board: Board, labels: Sequence[str]) -> Matrix:
    """Return the AUCs of the rows over the seeds that all of them have, of shape (rows, seeds)."""
    import numpy as np

    seeds = _common_seeds(board, labels)
    return np.array([[aucs[seed] for seed in seeds] for aucs in _aucs(board, labels)], dtype=np.float64)


def mean_ranks(tables: Sequence[Matrix]) -> Matrix:
    """Return each row's rank by mean AUC, averaged over tables of shape (rows, seeds).

    Equal AUCs share their ranks.
    """
    import numpy as np

    ranks = np.array([_ranks(table.mean(axis=1)[:, None])[:, 0] for table in tables])
    means: Matrix = ranks.mean(axis=0)
    return means


def bootstrap(tables: Sequence[Matrix], resamples: int = RESAMPLES) -> tuple[Matrix, Matrix]:
    """Return the 2.5 % and 97.5 % percentiles of `mean_ranks` over resampled settings and seeds within them.

    All rows keep the same settings and seeds in a resample, so that the comparison stays paired.
    """
    import numpy as np

    # The stream of RandomState is frozen; that of default_rng may change, and committed boards are compared.
    draw = np.random.RandomState(SEED)
    chosen = draw.randint(len(tables), size=(resamples, len(tables)))
    total = np.zeros((tables[0].shape[0], resamples))
    for index, table in enumerate(tables):
        containing, _ = np.nonzero(chosen == index)
        seeds = draw.randint(table.shape[1], size=(len(containing), table.shape[1]))
        ranks = _ranks(table[:, seeds].mean(axis=2))
        for row, total_of_row in zip(ranks, total, strict=True):
            total_of_row += np.bincount(containing, weights=row, minlength=resamples)
    low, high = np.percentile(total / len(tables), [2.5, 97.5], axis=1)
    return low, high


def _ranks(aucs: Matrix) -> Matrix:
    """Return the ranks in each column of (rows, samples), 1 for the largest; equal AUCs share their mean."""
    import numpy as np

    larger = np.zeros(aucs.shape)
    for row in aucs:
        larger += (row > aucs) + 0.5 * (row == aucs)
    # Each row equals itself, which counted as half a rank.
    return larger + 0.5
