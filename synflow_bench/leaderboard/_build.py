"""From records to boards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from synflow_bench.leaderboard._board import Board, Incident, Row
from synflow_bench.leaderboard._entries import build_row
from synflow_bench.leaderboard._rows import rows_of, unique
from synflow_bench.leaderboard._standing import with_standings
from synflow_bench.records import Record, printable
from synflow_bench.suites import Setting


def build_boards(records: Iterable[Record]) -> list[Board]:
    """One board a setting, in the order of their headings; the order of `records` does not matter."""
    groups = _by_setting(unique(records))
    settings = [group[0].cell.setting for group in groups]
    boards = [_board(group, _heading(group[0].cell.setting, settings)) for group in groups]
    return sorted(boards, key=lambda board: (board.heading, board.id))


def _by_setting(records: Iterable[Record]) -> list[list[Record]]:
    ids: dict[str, str] = {}
    groups: dict[str, list[Record]] = {}
    for record in records:
        setting = record.cell.setting
        text = setting.model_dump_json()
        # Hashing the same setting for every record would take most of the time to build a board.
        if text not in ids:
            ids[text] = setting.id
        groups.setdefault(ids[text], []).append(record)
    return list(groups.values())


def _board(records: Sequence[Record], heading: str) -> Board:
    setting = records[0].cell.setting
    grouped, outdated = rows_of(records)
    current = [record for row in grouped.values() for record in row]
    compressions = tuple(sorted({record.cell.compression for record in current}))
    rows = with_standings(
        [build_row(label, row, compressions) for label, row in grouped.items()], compressions
    )
    return Board(
        id=setting.id,
        title=setting.title,
        heading=heading,
        setting=setting,
        compressions=compressions,
        seeds=tuple(sorted({record.cell.seed for record in current if record.status == "ok"})),
        rows=tuple(sorted(rows, key=_rank)),
        incidents=tuple(
            incident for label, row in sorted(grouped.items()) for incident in _incidents(label, row)
        ),
        outdated={printable(label): count for label, count in outdated.items()},
    )


def _rank(row: Row) -> tuple[bool, float, str]:
    return not row.is_dense, -row.area.mean if row.area else 1.0, row.label


def _incidents(label: str, records: Sequence[Record]) -> list[Incident]:
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
