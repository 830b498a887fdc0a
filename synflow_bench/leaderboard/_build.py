"""From records to boards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any

from synflow_bench.leaderboard._areas import with_areas
from synflow_bench.leaderboard._baseline import with_baseline
from synflow_bench.leaderboard._board import Board, Incident, Leaderboard, Row
from synflow_bench.leaderboard._entries import build_row
from synflow_bench.leaderboard._gaps import with_gaps
from synflow_bench.leaderboard._published import PublishedTable
from synflow_bench.leaderboard._ranks import overall, with_ranks
from synflow_bench.leaderboard._rows import rows_of, unique
from synflow_bench.leaderboard._standing import with_standings
from synflow_bench.records import Record, Result, printable
from synflow_bench.suites import Setting


def build_leaderboard(
    records: Iterable[Record | Result],
    *,
    baseline: str | None = None,
    published: Iterable[PublishedTable] = (),
) -> Leaderboard:
    """All boards, compared with the row `baseline` if one is named, and the ranks over them.

    Raises `UnknownNameError` or `UsageError` for a baseline that cannot be found.
    """
    boards = build_boards(records)
    if baseline is not None:
        boards = with_baseline(boards, baseline)
    return Leaderboard(tuple(boards), overall(boards), tuple(published))


def build_boards(records: Iterable[Record | Result]) -> list[Board]:
    """One board a setting, in the order of their headings; the order of `records` does not matter."""
    groups = _by_setting(unique(map(_result, records)))
    settings = [group[0].cell.setting for group in groups]
    boards = [_board(group, _heading(group[0].cell.setting, settings)) for group in groups]
    return sorted(boards, key=lambda board: (board.heading, board.id))


def _result(record: Record | Result) -> Result:
    return record if isinstance(record, Result) else Result.of(record)


def _by_setting(records: Iterable[Result]) -> list[list[Result]]:
    groups: dict[str, list[Result]] = {}
    for record in records:
        groups.setdefault(record.cell.setting.digest, []).append(record)
    return list(groups.values())


def _board(records: Sequence[Result], heading: str) -> Board:
    setting = records[0].cell.setting
    grouped, outdated = rows_of(records)
    current = [record for row in grouped.values() for record in row]
    compressions = tuple(sorted({record.cell.compression for record in current}))
    measured, area_compressions = with_areas(build_row(label, row) for label, row in grouped.items())
    rows, ablated = with_gaps(measured)
    board = Board(
        id=setting.id,
        title=setting.title,
        heading=heading,
        setting=setting,
        compressions=compressions,
        area_compressions=area_compressions,
        seeds=tuple(sorted({record.cell.seed for record in current if record.status == "ok"})),
        rows=tuple(sorted(with_standings(rows, compressions), key=_order)),
        incidents=tuple(
            incident for label, row in sorted(grouped.items()) for incident in _incidents(label, row)
        ),
        outdated={printable(label): count for label, count in outdated.items()},
        ablated=tuple(sorted(ablated, key=lambda row: row.label)),
        baseline=None,
        records=len(records),
        digest=_digest(records),
    )
    return with_ranks(board)


def _digest(records: Iterable[Result]) -> str:
    lines = sorted(f"{record.key} {record.sha256}\n" for record in records)
    return sha256("".join(lines).encode()).hexdigest()[:12]


def _order(row: Row) -> tuple[bool, float, str]:
    return not row.is_dense, -row.area.mean if row.area else 1.0, row.label


def _incidents(label: str, records: Sequence[Result]) -> list[Incident]:
    cells: dict[tuple[str, str, str], list[tuple[float, int]]] = {}
    for record in records:
        if record.error and record.status != "ok":
            why = (record.status, record.error.kind, record.error.message)
            cells.setdefault(why, []).append((record.cell.compression, record.cell.seed))
    return [
        Incident(printable(label), status, printable(kind), printable(message), tuple(sorted(where)))
        for (status, kind, message), where in sorted(cells.items())
    ]


def _heading(setting: Setting, settings: Iterable[Setting]) -> str:
    """The title, and where others have it too, every field in which they differ."""
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
