"""The results of a board, and of its rows: settings that differ only in their protocol share one board."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from synflow_bench.records import Result
from synflow_bench.suites import Cell, Setting, Singleshot, canonical, label_of


def by_board(results: Iterable[Result]) -> dict[str, list[Result]]:
    """Group results by all of their setting but the protocol."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.cell.setting.board, []).append(result)
    return groups


def setting_of(results: Sequence[Result]) -> Setting:
    """Return the setting of a board: one with a dense network, of the default protocol if there is one."""
    settings = {result.cell.setting.digest: result.cell.setting for result in results}
    dense = {result.cell.setting.digest for result in results if result.cell.is_dense}
    return min(
        settings.values(),
        key=lambda each: (
            bool(dense) and each.digest not in dense,
            each.protocol != Singleshot(),
            each.digest,
        ),
    )


def newest_rows(results: Iterable[Result]) -> tuple[dict[str, list[Result]], dict[str, int]]:
    """Group the results of one board by the label of their row, without those of older revisions.

    The revisions of dataset and model hold for the whole board, because rows could not be compared
    otherwise; the pruner's holds for its row. Results of different revisions are never averaged. Rows with
    another protocol than that of the board's setting have it in their label. The dense network is that of the
    board's setting: dense networks of other protocols are left out.

    Returns:
        The newest results by label, and by label the number of results that were left out.
    """
    rows: dict[str, list[Result]] = {}
    outdated: dict[str, int] = {}
    everything = sorted(results, key=lambda result: result.cell.row)
    board = setting_of(everything)
    everything = [
        each for each in everything if not each.cell.is_dense or each.cell.setting.digest == board.digest
    ]
    newest = max(_shared_revision(result) for result in everything)
    by_label: dict[str, list[Result]] = {}
    for result in everything:
        by_label.setdefault(_label_of(result.cell, board, result.cell.pruner.title), []).append(result)
    for label, row in by_label.items():
        current = [result for result in row if _shared_revision(result) == newest]
        revision = max((result.cell.revisions.pruner for result in current), default=0)
        kept = [result for result in current if result.cell.revisions.pruner == revision]
        if len(kept) < len(row):
            outdated[label] = len(row) - len(kept)
        rows |= _by_parameters(label, kept, board)
    return rows, outdated


def _label_of(cell: Cell, board: Setting, pruner: str) -> str:
    """Return the label of a row: its pruner, with its protocol if that is not the board's, and ablation."""
    if cell.setting.protocol != board.protocol:
        return label_with_protocol(cell, pruner)
    return pruner if cell.ablation == "none" else f"{pruner} ({cell.ablation})"


def label_with_protocol(cell: Cell, pruner: str) -> str:
    """Return the label of a row whose protocol is not that of its board.

    Args:
        cell: A cell of the row.
        pruner: The pruner, with some of its parameters or all.
    """
    label = f"{pruner}@{cell.setting.protocol.label}"
    return label if cell.ablation == "none" else f"{label} ({cell.ablation})"


def _shared_revision(result: Result) -> tuple[int, int]:
    return result.cell.revisions.dataset, result.cell.revisions.model


def _by_parameters(label: str, results: list[Result], board: Setting) -> dict[str, list[Result]]:
    """Return one row, or one per set of parameters where several share the label."""
    # Results share few pruner objects, so each of these is serialized only once.
    pruners = {id(result.cell.pruner): result.cell.pruner for result in results}
    names = {number: canonical([each.name, each.parameters]) for number, each in pruners.items()}
    variants: dict[str, list[Result]] = {}
    for result in results:
        variants.setdefault(names[id(result.cell.pruner)], []).append(result)
    if len(variants) < 2:
        return {label: results} if results else {}
    return {_full_label(variant[0].cell, board): variant for variant in variants.values()}


def _full_label(cell: Cell, board: Setting) -> str:
    return _label_of(cell, board, label_of(cell.pruner.name, cell.pruner.parameters))
