"""From records to boards: grouping, aggregation over seeds, and areas under the curve."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from synflow_bench.errors import RecordError, UnknownNameError, UsageError
from synflow_bench.leaderboard.board import (
    MARGIN,
    RANKED_COMPRESSIONS,
    RANKED_SEEDS,
    Board,
    BoardRow,
    CollapsedLayer,
    CurvePoint,
    Leaderboard,
    UnfinishedCells,
)
from synflow_bench.leaderboard.compare import (
    with_baseline,
    with_deltas,
    with_ranks,
)
from synflow_bench.leaderboard.definitions import AVERAGED
from synflow_bench.leaderboard.grouping import by_board, label_with_protocol, newest_rows, setting_of
from synflow_bench.leaderboard.over_settings import overall_ranking
from synflow_bench.leaderboard.published import PublishedTable, published_tables
from synflow_bench.leaderboard.standings import with_standings
from synflow_bench.leaderboard.statistics import area_under_curve, estimate, mean, median
from synflow_bench.leaderboard.tuning import Tuned, board_id, tune_results
from synflow_bench.records import Metrics, Record, Result, Store, printable
from synflow_bench.suites import Setting, Tuning

CHANCE_FACTOR = 1.25
"""A network at chance has at most this many times the accuracy of guessing."""

R = TypeVar("R", Record, Result)


def read_leaderboard(
    results: Path,
    *,
    datasets: Collection[str] = (),
    models: Collection[str] = (),
    pruners: Collection[str] = (),
    baseline: str | None = None,
    margin: float = MARGIN,
    published: bool = False,
    tuning: Tuning | None = None,
    found: Sequence[Result] | None = None,
) -> Leaderboard:
    """Build the leaderboard of a results folder.

    Args:
        results: The results folder.
        datasets: Only these datasets; by default all.
        models: Only these models; by default all.
        pruners: Only these pruners, or labels of rows; by default all. The dense network always stays.
        baseline: The row with which all others are compared.
        margin: The difference of accuracies, as a share, up to which rows count as equivalent.
        published: Add published accuracies for the datasets and models of the boards, or where there are no
            records all of them.
        tuning: A field of the recipe that is tuned for every pruner.
        found: All results of the folder, if they have been read already.

    Raises:
        RecordError: There is nothing to show, or a record cannot be read.
        UnknownNameError: No record has one of the names.
        UsageError: The baseline is ambiguous, or nothing can be tuned.
    """
    tables = [
        table
        for table in (published_tables() if published else ())
        if (not datasets or table.dataset in datasets) and (not models or table.model in models)
    ]
    with _paused_garbage_collection():
        found = Store(results).results() if found is None else found
        if not found and not tables:
            raise no_records(results)
        if not found:
            return Leaderboard((), None, tuple(tables))
        chosen = choose(found, datasets=datasets, models=models, pruners=pruners)
        leaderboard = build_leaderboard(
            chosen, baseline=baseline, margin=margin, published=tables, tuning=tuning
        )
    matching = [table for board in leaderboard.boards for table in leaderboard.published_for(board)]
    return replace(leaderboard, published=tuple(dict.fromkeys(matching)))


def no_records(results: Path) -> RecordError:
    """Return the error for a results folder without records."""
    return RecordError(
        f"no records in {str(results)!r}; make some with `synflow-bench run --all`, "
        "or name their folder with --results"
    )


@contextmanager
def _paused_garbage_collection() -> Iterator[None]:
    """Pause the cyclic collector: it would visit all results again and again, in a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def choose(
    records: Iterable[R],
    *,
    datasets: Collection[str] = (),
    models: Collection[str] = (),
    pruners: Collection[str] = (),
) -> list[R]:
    """Return the records of the named datasets, models and pruners; an empty choice means all.

    A pruner is named as such, or by the label of its row, with or without its protocol. The dense network
    always stays, because all others are compared with it.

    Raises:
        UnknownNameError: No record has one of the names.
        RecordError: No record has all of them.
    """
    kept = every = list(records)
    choices: dict[str, Collection[str]] = {"dataset": datasets, "model": models, "pruner": pruners}
    for kind, names in choices.items():
        if not names:
            continue
        known = set[str]().union(*(_names(record, kind) for record in every))
        if unknown := [name for name in names if name not in known]:
            raise UnknownNameError(f"recorded {kind}", unknown[0], known)
        wanted = set(names)
        kept = [r for r in kept if wanted & _names(r, kind) or (kind == "pruner" and r.cell.is_dense)]
    if every and not kept:
        named = ", ".join(name for names in choices.values() for name in names)
        raise RecordError(f"no record has all of {named}; name fewer at once")
    return kept


def _names(record: Record | Result, kind: str) -> set[str]:
    cell = record.cell
    if kind == "pruner":
        return {cell.pruner.name, cell.row, label_with_protocol(cell, cell.pruner.title)}
    if kind == "dataset":
        return {cell.setting.dataset_label, cell.setting.dataset_name}
    return {cell.setting.model.name}


def build_leaderboard(
    records: Iterable[Record | Result],
    *,
    baseline: str | None = None,
    margin: float = MARGIN,
    published: Iterable[PublishedTable] = (),
    tuning: Tuning | None = None,
) -> Leaderboard:
    """Build all boards of `records`, and the ranks over them.

    Args:
        records: Records or results, in any order.
        baseline: The label of a row, or a pruner that has one row, with which all others are compared.
        margin: The difference of accuracies, as a share, up to which rows count as equivalent.
        published: Published accuracies to show beside the boards.
        tuning: A field of the recipe of which every pruner has its best value by validation accuracy.

    Raises:
        RecordError: Two records have one key.
        UnknownNameError: No board has the baseline.
        UsageError: The baseline is a pruner of several rows, the margin is no share, or nothing can be tuned.
    """
    if not 0 <= margin <= 1:
        raise UsageError(f"margin is a share from 0 to 1, not {margin:g}; one percentage point is 0.01")
    boards = build_boards(records, margin=margin, tuning=tuning)
    if baseline is not None:
        boards = with_baseline(boards, baseline)
    return Leaderboard(tuple(boards), overall_ranking(boards), tuple(published))


def build_boards(
    records: Iterable[Record | Result], *, margin: float = MARGIN, tuning: Tuning | None = None
) -> list[Board]:
    """Build the boards, ordered by heading; the order of `records` does not matter.

    Settings that differ only in their protocol share one board, and those that differ only in a tuned field.
    """
    results = (record if isinstance(record, Result) else Result.of(record) for record in records)
    ordered = sorted(results, key=lambda result: result.key)
    for before, after in pairwise(ordered):
        if before.key == after.key:
            raise RecordError(f"two records have the key {after.key!r}; leave one of them out")
    tuned: dict[str, Tuned] = {}
    if tuning:
        ordered, tuned = tune_results(ordered, tuning)
    groups = list(by_board(ordered).values())
    settings = [setting_of(group) for group in groups]
    boards = [
        _board(group, _heading(setting, settings), margin)
        for group, setting in zip(groups, settings, strict=True)
    ]
    boards = [
        _as_tuned(board, found) if (found := tuned.get(board.setting.board)) else board for board in boards
    ]
    return sorted(boards, key=lambda board: (board.heading, board.id))


def _as_tuned(board: Board, tuned: Tuned) -> Board:
    def with_value(row: BoardRow) -> BoardRow:
        return replace(row, tuned=tuned.chosen[row.points[0].results[0].key])

    return replace(
        board,
        id=board_id(board.setting.board, tuned.tuning),
        heading=f"{board.title} ({tuned.tuning.field} tuned)",
        rows=tuple(map(with_value, board.rows)),
        ablated=tuple(map(with_value, board.ablated)),
        tuned=tuned,
    )


def _board(results: Sequence[Result], heading: str, margin: float) -> Board:
    setting = setting_of(results)
    grouped, outdated = newest_rows(results)
    current = [result for row in grouped.values() for result in row]
    compressions = tuple(sorted({result.cell.compression for result in current}))
    chance = _chance(current)
    measured = [_row(label, row, chance) for label, row in grouped.items()]
    auc_compressions = shared_compressions(measured)
    plain, ablated = with_deltas(_with_auc(row, auc_compressions) for row in measured)
    rows, compared = with_standings(plain, compressions, margin)
    board = Board(
        id=setting.id,
        title=setting.title,
        heading=heading,
        setting=setting,
        compressions=compressions,
        auc_compressions=auc_compressions,
        seeds=tuple(sorted({result.cell.seed for result in current if result.status == "ok"})),
        rows=tuple(sorted(rows, key=_order)),
        unfinished=tuple(
            cells for label, row in sorted(grouped.items()) for cells in _unfinished(label, row)
        ),
        outdated={printable(label): count for label, count in outdated.items()},
        ablated=tuple(sorted(ablated, key=lambda row: row.label)),
        baseline=None,
        records=len(results),
        digest=_digest(results),
        margin=margin,
        compared_columns=compared,
    )
    return with_ranks(board)


def _digest(results: Iterable[Result]) -> str:
    lines = sorted(f"{result.key} {result.sha256}\n" for result in results)
    return sha256("".join(lines).encode()).hexdigest()[:12]


def _order(row: BoardRow) -> tuple[bool, float, str]:
    return not row.is_dense, -row.auc.mean if row.auc else 1.0, row.label


def _chance(results: Iterable[Result]) -> float:
    """Return the accuracy of guessing: that of the board's networks before training, in the middle.

    Records have no number of classes. Networks that begin with trained weights do not guess, so that a middle
    above one half is not used.
    """
    untrained = [result.metrics.init_top1 for result in results if result.metrics]
    middle = median(untrained) if untrained else 0.0
    return middle if middle <= 0.5 else 0.0


def _is_at_chance(result: Result, chance: float) -> bool:
    """Return True if no path is left in the network, or if it does hardly better than guessing."""
    metrics = result.metrics
    if metrics is None:
        return False
    return is_severed(metrics) or metrics.test_top1 <= CHANCE_FACTOR * chance


def is_severed(metrics: Metrics) -> bool:
    """Return True if no path of kept weights is left from input to output."""
    return (
        bool(metrics.collapsed_layers)
        and metrics.effective_compression is None
        and metrics.not_followed is None
    )


def _row(label: str, results: Sequence[Result], chance: float) -> BoardRow:
    """Build the row of results of equal pruner, parameters and revision, without its AUC."""
    cell = results[0].cell
    by_compression: dict[float, list[Result]] = {}
    for result in results:
        by_compression.setdefault(result.cell.compression, []).append(result)
    points = tuple(
        _point(compression, group, chance) for compression, group in sorted(by_compression.items())
    )
    return BoardRow(
        label=printable(label),
        pruner=cell.pruner.name,
        parameters=dict(cell.pruner.parameters),
        ablation=cell.ablation,
        revision=cell.revisions.pruner,
        points=points,
        aucs={},
        auc=None,
        critical_compression=_critical_compression(points),
        collapses=any(point.collapsed for point in points),
    )


def _point(compression: float, results: Sequence[Result], chance: float) -> CurvePoint:
    ordered = sorted(results, key=lambda result: result.cell.seed)
    done = [result for result in ordered if result.metrics and result.status == "ok"]
    top1 = {result.cell.seed: result.metrics.test_top1 for result in done if result.metrics}
    layers = Counter(layer for each in done if each.metrics for layer in each.metrics.collapsed_layers)
    return CurvePoint(
        compression=compression,
        top1=top1,
        accuracy=estimate(list(top1.values())) if top1 else None,
        standing=None,
        means={key: _mean_of(map(of_record, done)) for key, of_record in AVERAGED.items()},
        collapsed=tuple(CollapsedLayer(printable(layer), seeds) for layer, seeds in sorted(layers.items())),
        diverged=sum(result.metrics.diverged for result in done if result.metrics),
        failed=sum(result.status == "failed" for result in results),
        skipped=sum(result.status == "skipped" for result in results),
        at_chance=sum(_is_at_chance(result, chance) for result in done),
        results=tuple(ordered),
    )


def _mean_of(values: Iterable[float | None]) -> float | None:
    """Return the mean, or None unless every seed has the number: a mean over some would mislead."""
    given = list(values)
    present = [value for value in given if value is not None]
    return mean(present) if present and len(present) == len(given) else None


def _critical_compression(points: Sequence[CurvePoint]) -> float | None:
    reached = None
    for point in points:
        if point.collapsed:
            break
        reached = point.compression if point.top1 else reached
    return reached


def shared_compressions(rows: Sequence[BoardRow]) -> tuple[float, ...]:
    """Return the compressions over which AUCs are computed.

    They are the set of compressions above 1 that the most competing rows have with three seeds or more. Where
    no row has three seeds, one is enough; where no row competes, the ablations count.
    """
    rivals = [row for row in rows if row.competes] or [row for row in rows if not row.is_dense]
    for least in (RANKED_SEEDS, 1):
        found = [own for row in rivals if (own := _compressions(row, least))]
        if found:
            return _most_common(found)
    return ()


def _most_common(found: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    """Return the most common set; of several, one that is large enough for ranks, then the most included."""
    counts = Counter(found)
    including = {each: sum(n for own, n in counts.items() if {*own} >= {*each}) for each in counts}
    return max(
        counts,
        key=lambda each: (counts[each], len(each) >= RANKED_COMPRESSIONS, including[each], len(each), each),
    )


def _compressions(row: BoardRow, least: int) -> tuple[float, ...]:
    return tuple(
        point.compression for point in row.points if point.compression > 1 and len(point.top1) >= least
    )


def _with_auc(row: BoardRow, compressions: Sequence[float]) -> BoardRow:
    curves: Mapping[float, Mapping[int, float]] = {point.compression: point.top1 for point in row.points}
    if len(compressions) < 2 or not curves.keys() >= {*compressions}:
        return row
    heights = [curves[compression] for compression in compressions]
    seeds = sorted(set[int].intersection(*(set(curve) for curve in heights)))
    aucs = {seed: area_under_curve(compressions, [curve[seed] for curve in heights]) for seed in seeds}
    return replace(row, aucs=aucs, auc=estimate(list(aucs.values())) if aucs else None)


def _unfinished(label: str, results: Sequence[Result]) -> list[UnfinishedCells]:
    cells: dict[tuple[str, str, str], list[tuple[float, int]]] = {}
    for result in results:
        if result.error and result.status != "ok":
            status = "not defined" if result.error.not_defined else result.status
            reason = (status, result.error.kind, result.error.message)
            cells.setdefault(reason, []).append((result.cell.compression, result.cell.seed))
    return [
        UnfinishedCells(printable(label), status, printable(kind), printable(message), tuple(sorted(places)))
        for (status, kind, message), places in sorted(cells.items())
    ]


def _heading(setting: Setting, settings: Iterable[Setting]) -> str:
    """Return the title and, where other settings have it too, every field in which they differ."""
    namesakes = [_flat(other.model_dump(mode="json")) for other in settings if other.title == setting.title]
    own = _flat(setting.model_dump(mode="json"))
    fields = sorted(set[str]().union(*namesakes))
    differing = [field for field in fields if any(other.get(field) != own.get(field) for other in namesakes)]
    details = ", ".join(f"{field} {own[field]}" for field in differing if field in own)
    return printable(f"{setting.title} ({details})" if details else setting.title)


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {path.removeprefix("."): value}
    return {
        name: leaf for key, inner in value.items() for name, leaf in _flat(inner, f"{path}.{key}").items()
    }
