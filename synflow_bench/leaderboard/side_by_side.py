"""Two sets of results side by side: the cells of one only, equal ones, and differences paired by seed.

Imports no torch.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from synflow_bench.errors import RecordError
from synflow_bench.leaderboard.statistics import CONFIDENCE, Estimate, paired_difference
from synflow_bench.records import Record, Store, content_digest, read_records
from synflow_bench.suites import CellTitles, Setting, canonical

Verdict = Literal["equal", "within noise", "beyond noise", "undecided", "not compared"]
"""The outcome for one row of two sides.

`equal` means equal records; `beyond noise` that the 95 % interval of the paired differences excludes zero;
`undecided` fewer than two common seeds; `not compared` that a side has no successful cell.
"""

_KEY = re.compile(r"[0-9a-f]{1,16}")


@dataclass(frozen=True)
class RowDifference:
    """One row of a board at one compression, on both sides.

    Attributes:
        title: The setting and the row.
        compression: The compression ratio.
        seeds: The number of common seeds.
        equal: The number of them whose records are equal.
        masks: The number of them whose masks are equal.
        statuses: The common cells of which a side has failed, as `ok, failed`, with their numbers.
        difference: The test accuracy of B less that of A, paired by seed; None where no seed is common.
        verdict: The outcome.
    """

    title: str
    compression: float
    seeds: int
    equal: int
    masks: int
    statuses: Mapping[str, int]
    difference: Estimate | None
    verdict: Verdict


@dataclass(frozen=True)
class SideBySide:
    """Two sets of records, A and B.

    Attributes:
        only_a: The cells that only A has, by key.
        only_b: The cells that only B has, by key.
        rows: The common rows, by title and compression.
        provenance: What differs in the provenance of common cells: by field, the two values with their number
            of cells.
        cells: What differs in the cells themselves: revisions, or anything if two keys are compared.
        settings: The fields that differ, with both values, where each side has one setting of a dataset and a
            network, and they are not equal: by title.
        metrics: For two keys, the numbers of A and B that differ.
        refused: One line per record that cannot be read.
    """

    only_a: Mapping[str, str]
    only_b: Mapping[str, str]
    rows: tuple[RowDifference, ...]
    provenance: Mapping[str, Mapping[tuple[str, str], int]]
    cells: Mapping[str, Mapping[tuple[str, str], int]]
    metrics: Mapping[str, tuple[Any, Any]]
    settings: Mapping[str, Mapping[str, tuple[str, str]]]
    refused: tuple[str, ...] = ()

    @property
    def differs(self) -> bool:
        """True if a cell is on one side only, a status differs, or a row differs beyond noise."""
        beyond = any(row.verdict == "beyond noise" or row.statuses for row in self.rows)
        return bool(self.only_a or self.only_b or beyond or self.refused)

    @property
    def expected_by_chance(self) -> float:
        """The number of rows that would seem to differ beyond noise if none did."""
        decided = sum(row.verdict in ("within noise", "beyond noise") for row in self.rows)
        return (1 - CONFIDENCE) * decided


def compare_sides(first: str | Path, second: str | Path, store: Store) -> SideBySide:
    """Compare two results folders, two archives, or two records of a results folder.

    Cells are common if they are equal but for the revisions of their plugins; of several revisions, the
    newest is taken.

    Args:
        first: A folder, an archive or the first characters of a key.
        second: The other one.
        store: The results folder in which keys are looked up.

    Raises:
        RecordError: One of them is not there or has no records, or a key is compared with a folder.
    """
    refused: list[str] = []
    keys = [_is_key(each) for each in (first, second)]
    if all(keys):
        return _two_records(store.find(str(first)), store.find(str(second)))
    if any(keys):
        key, other = (first, second) if keys[0] else (second, first)
        raise RecordError(
            f"{str(key)!r} is a key and {str(other)!r} is not; compare two keys, or two folders or archives"
        )
    a, b = (_by_cell(read_records(Path(each), refused)) for each in (first, second))
    for side, source in ((a, first), (b, second)):
        if not side:
            raise RecordError(f"no records in {str(source)!r}; name a results folder or an archive")
    common = sorted(a.keys() & b.keys())
    pairs = [(a[cell], b[cell]) for cell in common]
    titles = CellTitles(record.cell for side in (a, b) for record in side.values())
    return SideBySide(
        only_a={a[cell].key: titles.of(a[cell].cell) for cell in sorted(a.keys() - b.keys())},
        only_b={b[cell].key: titles.of(b[cell].cell) for cell in sorted(b.keys() - a.keys())},
        rows=tuple(_rows(pairs, titles)),
        provenance=_differing(pairs, _provenance),
        cells=_differing(pairs, lambda record: {"revisions": record.cell.revisions.identity}),
        metrics={},
        settings=_settings(a.values(), b.values()),
        refused=tuple(refused),
    )


def _settings(a: Iterable[Record], b: Iterable[Record]) -> dict[str, dict[str, tuple[str, str]]]:
    """Return by title, and by field, what differs where each side has one setting of a title."""
    first, second = (_alone({r.cell.setting.digest: r.cell.setting for r in side}) for side in (a, b))
    found = {title: _differing_fields(first[title], second[title]) for title in first if title in second}
    return {title: fields for title, fields in found.items() if fields}


def _alone(settings: Mapping[str, Setting]) -> dict[str, Setting]:
    """Return the settings whose titles no other has, by title."""
    counts = Counter(each.title for each in settings.values())
    return {each.title: each for each in settings.values() if counts[each.title] == 1}


def _differing_fields(one: Setting, other: Setting) -> dict[str, tuple[str, str]]:
    before, after = (dict(_leaves(each.model_dump(mode="json"))) for each in (one, other))
    return {
        name: (_text(before.get(name)), _text(after.get(name)))
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    }


def _is_key(source: str | Path) -> bool:
    return not Path(source).exists() and bool(_KEY.fullmatch(str(source)))


def _two_records(one: Record, other: Record) -> SideBySide:
    pair = [(one, other)]
    before, after = (
        dict(_leaves(each.metrics.model_dump() if each.metrics else {})) for each in (one, other)
    )
    return SideBySide(
        only_a={},
        only_b={},
        rows=(_row(f"{one.key} and {other.key}", one.cell.compression, pair),),
        provenance=_differing(pair, _provenance),
        cells=_differing(pair, lambda record: record.cell.model_dump(mode="json")),
        metrics={
            name: (before.get(name), after.get(name))
            for name in dict.fromkeys([*before, *after])
            if before.get(name) != after.get(name)
        },
        settings={},
    )


def _by_cell(records: Iterable[Record]) -> dict[str, Record]:
    """Return records by their cell without revisions; of several revisions, the newest."""
    found: dict[str, Record] = {}
    for record in records:
        cell = canonical({**record.cell.identity(), "revisions": None})
        if cell not in found or _revisions(found[cell]) < _revisions(record):
            found[cell] = record
    return found


def _revisions(record: Record) -> list[int]:
    return list(record.cell.revisions.identity.values())


def _rows(pairs: Iterable[tuple[Record, Record]], titles: CellTitles) -> Iterator[RowDifference]:
    groups: dict[tuple[str, str, float], list[tuple[Record, Record]]] = defaultdict(list)
    for one, other in pairs:
        cell = one.cell
        groups[titles.of_setting(cell.setting), cell.row, cell.compression].append((one, other))
    for (setting, row, compression), group in sorted(groups.items()):
        yield _row(f"{setting} / {row}", compression, group)


def _row(title: str, compression: float, pairs: list[tuple[Record, Record]]) -> RowDifference:
    equal = sum(content_digest(one) == content_digest(other) for one, other in pairs)
    a, b = ({number: _top1(pair[side]) for number, pair in enumerate(pairs)} for side in (0, 1))
    both = [number for number in a if a[number] is not None and b[number] is not None]
    difference = paired_difference(
        {number: b[number] or 0.0 for number in both}, {number: a[number] or 0.0 for number in both}
    )
    other = Counter(f"{one.status}, {other.status}" for one, other in pairs if one.status != other.status)
    return RowDifference(
        title=title,
        compression=compression,
        seeds=len(pairs),
        equal=equal,
        masks=sum(one.masks == other.masks and one.masks is not None for one, other in pairs),
        statuses=dict(other),
        difference=difference,
        verdict=_verdict(equal == len(pairs), difference),
    )


def _verdict(equal: bool, difference: Estimate | None) -> Verdict:
    if equal:
        return "equal"
    if difference is None:
        return "not compared"
    noise = difference.contains(0.0)
    return "undecided" if noise is None else "within noise" if noise else "beyond noise"


def _top1(record: Record) -> float | None:
    return record.metrics.test_top1 if record.metrics else None


def _provenance(record: Record) -> dict[str, Any]:
    return record.provenance.model_dump(mode="json", exclude={"created", "warnings"})


def _differing(pairs: Iterable[tuple[Record, Record]], part: Any) -> dict[str, dict[tuple[str, str], int]]:
    """Count by field the pairs of values that differ."""
    found: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    for one, other in pairs:
        before, after = dict(_leaves(part(one))), dict(_leaves(part(other)))
        for name in dict.fromkeys([*before, *after]):
            if before.get(name) != after.get(name):
                found[name][_text(before.get(name)), _text(after.get(name))] += 1
    return {name: dict(counts) for name, counts in found.items()}


def _text(value: Any) -> str:
    return "–" if value is None else str(value)


def _leaves(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _leaves(inner, f"{path}{name}.")
        else:
            yield f"{path}{name}", inner
