"""Records from elsewhere: validated, re-keyed, compared with what is here, and never written over it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

from synflow_bench.errors import RecordError
from synflow_bench.records._archive import read_archive, write_archive
from synflow_bench.records._read import parse_record, read_record
from synflow_bench.records._record import Record
from synflow_bench.records._store import Store, whole_file
from synflow_bench.suites import canonical

Verdict = Literal["new", "same", "conflict"]


@dataclass(frozen=True)
class Incoming:
    """A record that was offered, or the `fault` for which it is refused; `where` says where it was read.

    A record that has a fault all the same is in a wrong place.
    """

    where: str
    record: Record | None
    fault: str = ""


@dataclass(frozen=True)
class Comparison:
    """What was offered, against what is here.

    `new` and `same` are keys. `conflicts` are keys whose contents differ from the record here, `contested`
    keys that the sources disagree on; each with where it was read. `refused` are the faults of what is no
    record. `pruners` counts the offered records by pruner.
    """

    new: tuple[str, ...]
    same: tuple[str, ...]
    conflicts: dict[str, str]
    contested: dict[str, str]
    refused: tuple[str, ...]
    pruners: dict[str, int]

    @property
    def is_clean(self) -> bool:
        """Whether nothing that was offered has to be left out."""
        return not (self.conflicts or self.contested or self.refused)


def offered(source: Path) -> Iterator[Incoming]:
    """The records of an archive or a results folder. Raises `RecordError` for neither, or if damaged."""
    if source.is_dir():
        store = Store(source)
        yield from (_from_file(path, store) for path in store.paths())
    elif source.is_file():
        members = ((name, data) for name, data in read_archive(source) if Path(name).name != "store.json")
        yield from (_from_member(f"{name!r} in {str(source)!r}", data) for name, data in members)
    else:
        raise RecordError(f"{str(source)!r} is not there; name an archive or a results folder")


def _from_file(path: Path, store: Store) -> Incoming:
    where = repr(str(path))
    try:
        record = read_record(path)
    except RecordError as error:
        return Incoming(where, None, str(error))
    place = store.path(record.cell)
    return Incoming(where, record, "" if path == place else _misplaced(where, place))


def _misplaced(where: str, place: Path) -> str:
    belongs = f"record {where} belongs at {str(place)!r}"
    if place.exists():
        return f"{belongs}, where another record is; keep one, move the other out of the folder"
    return f"{belongs}; move it"


def _from_member(where: str, data: bytes) -> Incoming:
    try:
        return Incoming(where, parse_record(data, f"record {where}"))
    except RecordError as error:
        return Incoming(where, None, str(error))


def compare(sources: Iterable[Path], store: Store | None = None) -> Comparison:
    """What the records of `sources` are to each other and to those of `store`; nothing is written."""
    tally = _Tally(store)
    for source in sources:
        for each in offered(source):
            tally.add(each)
    return tally.comparison()


class _Tally:
    """What has been offered so far, by key; no record is kept."""

    def __init__(self, store: Store | None) -> None:
        self._store = store
        self._contents: dict[str, str] = {}
        self._places: dict[str, str] = {}
        self._verdicts: dict[str, Verdict] = {}
        self._contested: dict[str, str] = {}
        self._misplaced: list[tuple[str, str, str]] = []
        self._refused: list[str] = []
        self._pruners = Counter[str]()

    def add(self, each: Incoming) -> None:
        """Count one more record, or one more fault."""
        if each.fault:
            self._refused.append(each.fault)
        if each.record is None:
            return
        key, content = each.record.key, _content(each.record)
        if each.fault:
            self._misplaced.append((key, content, each.where))
            return
        self._pruners[each.record.cell.pruner.name] += 1
        if key not in self._contents:
            self._contents[key], self._places[key] = content, each.where
            self._verdicts[key] = self._verdict(each.record, content)
        elif self._contents[key] != content:
            self._contested[key] = f"{self._places[key]} and {each.where}"

    def _verdict(self, record: Record, content: str) -> Verdict:
        try:
            ours = self._store.get(record.cell) if self._store else None
        except RecordError:
            return "conflict"
        if ours is None:
            return "new"
        return "same" if _content(ours) == content else "conflict"

    def _contest(self) -> None:
        """Count what is in a wrong place as a voice against what is in the right one."""
        for key, content, where in self._misplaced:
            if self._contents.get(key, content) != content:
                self._contested[key] = f"{self._places[key]} and {where}"

    def comparison(self) -> Comparison:
        """The verdicts, in the order of keys."""
        self._contest()
        agreed = {key: self._verdicts[key] for key in sorted(self._verdicts) if key not in self._contested}
        return Comparison(
            new=tuple(key for key, verdict in agreed.items() if verdict == "new"),
            same=tuple(key for key, verdict in agreed.items() if verdict == "same"),
            conflicts={key: self._places[key] for key, verdict in agreed.items() if verdict == "conflict"},
            contested=dict(sorted(self._contested.items())),
            refused=tuple(self._refused),
            pruners=dict(sorted(self._pruners.items())),
        )


def _content(record: Record) -> str:
    """A digest of all that equal cells must give equally; timing, provenance and label may differ."""
    result = record.result
    result["cell"]["pruner"].pop("label", None)
    return sha256(canonical(result).encode()).hexdigest()


def take(sources: Iterable[Path], store: Store, keys: Iterable[str]) -> int:
    """Write the records with these keys into `store`, each once; gives their number.

    A record that is replaced is kept below `replaced/`.
    """
    wanted = set(keys)
    for each in (each for source in sources for each in offered(source)):
        if each.record is not None and not each.fault and each.record.key in wanted:
            store.put(each.record)
            wanted.discard(each.record.key)
    return len(set(keys)) - len(wanted)


def pack(records: Iterable[Record], store: Store, file: Path) -> None:
    """Write an archive of `records`, laid out as in a results folder: the whole file or nothing."""
    members = (
        (store.path(record.cell).relative_to(store.root).as_posix(), record.to_json().encode())
        for record in records
    )
    with whole_file(file) as sink:
        write_archive(sink, members)
