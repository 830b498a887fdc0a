"""Comparisons of rows with a baseline and with ablated twins; and ranks by AUC."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from synflow_bench.errors import UnknownNameError, UsageError
from synflow_bench.leaderboard.board import (
    RANKED_SEEDS,
    Board,
    BoardRow,
    CurvePoint,
    RankRange,
)
from synflow_bench.leaderboard.statistics import Estimate, paired_difference
from synflow_bench.suites import canonical

BySeed = Mapping[int, float]


def with_baseline(boards: Iterable[Board], name: str) -> list[Board]:
    """Return the boards with differences from the row `name`; one without accuracies of it stays as it is.

    `name` is the label of a row, or a pruner that has one row. The dense network is compared at its only
    compression, 1, with every compression of the others.

    Raises:
        UnknownNameError: If no board has such a row.
        UsageError: If several rows of a board have the name, or no cell of the row has finished.
    """
    given = list(boards)
    known = {each for board in given for row in board.rows for each in (row.label, row.pruner)}
    if given and name not in known:
        raise UnknownNameError("recorded row", name, known)
    found = [(board, _find(board, name)) for board in given]
    usable = {id(board) for board, row in found if row and any(point.top1 for point in row.points)}
    if given and not usable:
        raise UsageError(f"no cell of {name!r} has finished; compare with another row")
    return [_against_baseline(board, row) if row and id(board) in usable else board for board, row in found]


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
    equal pruner, parameters, revision and protocol stays a row.
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
    protocol = row.points[0].results[0].cell.setting.protocol
    return canonical([row.pruner, row.parameters, row.revision, protocol.model_dump(mode="json")])


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
        return replace(board, rows=tuple(replace(row, rank_range=None) for row in board.rows))
    aucs = [row.auc.mean for row in board.rows if row.auc and _is_ranked(row)]
    return replace(board, rows=tuple(_ranked_row(row, aucs) for row in board.rows))


def _ranked_row(row: BoardRow, aucs: Sequence[float]) -> BoardRow:
    rank = _rank(row, aucs) if _is_ranked(row) else None
    if rank is None or row.rank_range is None:
        return replace(row, rank=rank, rank_range=None)
    # The range counts rows with fewer seeds too, which have no rank; means may be over other seeds than its
    # own.
    low, high = min(rank, row.rank_range.low), max(rank, min(row.rank_range.high, len(aucs)))
    return replace(row, rank=rank, rank_range=RankRange(low, high))


def _is_ranked(row: BoardRow) -> bool:
    return row.competes and row.auc is not None and row.auc.n >= RANKED_SEEDS


def _rank(row: BoardRow, aucs: Sequence[float]) -> int | None:
    return 1 + sum(auc > row.auc.mean for auc in aucs) if row.auc else None
