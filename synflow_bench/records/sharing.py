"""Sharing records: export to one archive, and import from archives and other results folders.

Records from elsewhere are validated, their keys computed anew, and compared with those that are here; none of
ours is replaced unless the caller names its key.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from synflow_bench.errors import RecordError
from synflow_bench.files import read_regular, replacement
from synflow_bench.records.archive import read_archive
from synflow_bench.records.kept import (
    LARGEST_KEPT,
    SUFFIX,
    content_digest,
    kept_files,
    kept_path,
    put_kept,
    split_name,
)
from synflow_bench.records.reading import parse_record, read_record
from synflow_bench.records.record import LARGEST, Record
from synflow_bench.records.store import Store


def export_records(records: Iterable[Record], store: Store, file: Path, *, kept: bool = True) -> None:
    """Write an archive of records, with the layout of a results folder: the whole file or nothing.

    Equal records in equal order give equal bytes.

    Args:
        records: The records.
        store: The results folder that they are from.
        file: The archive, `*.tar.gz`.
        kept: Add the masks and weights that were kept beside the records.

    Raises:
        RecordError: The file cannot be written, a kept file cannot be read, or a record or file is too large
            to be imported again.
    """
    with (
        replacement(file) as temporary,
        temporary.open("wb") as sink,
        gzip.GzipFile(filename="", fileobj=sink, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        for record in records:
            place, content = store.path(record.cell), record.to_json().encode()
            if len(content) > LARGEST:
                raise RecordError(f"record {record.key} has {len(content)} bytes; the most are {LARGEST}")
            for path, data in ((place, content), *(kept_files(record, place) if kept else ())):
                if len(data) > LARGEST_KEPT:
                    raise RecordError(f"{str(path)!r} has {len(data)} bytes; the most are {LARGEST_KEPT}")
                member = tarfile.TarInfo(path.relative_to(store.root).as_posix())
                member.size, member.mode = len(data), 0o644
                archive.addfile(member, io.BytesIO(data))


@dataclass(frozen=True)
class Comparison:
    """The records of some sources, compared with each other and with those that are here.

    Attributes:
        new: The keys that are not here.
        same: The keys whose contents are equal to ours.
        conflicts: The keys whose contents differ from ours, each with the place that was read.
        failures: Those of `conflicts` where theirs failed and ours did not, so that ours is never replaced.
        disputed: The keys that the sources disagree on, each with two of the places.
        refused: One line for each invalid or misplaced record.
        pruners: The numbers of valid records by pruner.
        empty: One line for each source without a record.
    """

    new: tuple[str, ...]
    same: tuple[str, ...]
    conflicts: dict[str, str]
    disputed: dict[str, str]
    refused: tuple[str, ...]
    pruners: dict[str, int]
    failures: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()

    @property
    def is_clean(self) -> bool:
        """True if no record has to be left out."""
        return not (self.conflicts or self.disputed or self.refused)


def compare_records(sources: Iterable[Path], store: Store | None = None) -> Comparison:
    """Compare the records of several sources with each other and with those of a store; nothing is written.

    Args:
        sources: Archives and results folders.
        store: Our results folder, if any.

    Raises:
        RecordError: A source does not exist, or an archive is damaged.
    """
    tally = _Tally(store)
    for source in sources:
        count = tally.count
        for each in _incoming(source):
            tally.add(each)
        if tally.count == count:
            tally.empty.append(f"no records in {str(source)!r}; {_way_to_records(source)}")
    return tally.comparison()


def _way_to_records(source: Path) -> str:
    """Return the way out where a source has no records: often the folder above or below is meant."""
    for near in (source.absolute().parent, *(sorted(source.iterdir()) if source.is_dir() else ())):
        with suppress(OSError, RecordError):  # of folders that nobody has named
            if near.is_dir() and Store(near).paths():
                return f"did you mean {str(near)!r}?"
    return "name a results folder, which has a folder 'records', or an archive of `results export`"


def import_records(sources: Sequence[Path], store: Store, keys: Iterable[str]) -> int:
    """Write the records with the given keys into a store, each once; replaced ones are kept in `replaced/`.

    Args:
        sources: Archives and results folders.
        store: Our results folder.
        keys: The keys to import, from `compare_records`.

    Returns:
        The number of records written.

    Raises:
        RecordError: A source cannot be read, or the store cannot be written.
    """
    wanted = set(keys)
    found = 0
    for each in (each for source in sources for each in _incoming(source)):
        if each.record is not None and not each.problem and each.record.key in wanted:
            store.put(each.record, as_it_is=True)
            wanted.discard(each.record.key)
            found += 1
    for source in sources:
        _import_kept(source, store)
    return found


def _import_kept(source: Path, store: Store) -> None:
    """Write the kept files of a source that belong to records of `store` and are not there yet."""
    ours = {path.stem: path for path in store.paths()}

    def is_wanted(name: str) -> bool:
        key, kind = split_name(PurePosixPath(name).name) or ("", "masks")
        return key in ours and not kept_path(ours[key], kind).exists()

    for name, data in _kept_in(source, is_wanted):
        key, kind = split_name(PurePosixPath(name).name) or ("", "masks")
        try:
            put_kept(data, read_record(ours[key]), ours[key], kind)
        except RecordError as error:
            raise RecordError(f"{name!r} in {str(source)!r}: {error}") from error


def _kept_in(source: Path, is_wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Yield the names and contents of the kept files of a source that are wanted."""
    if source.is_file():
        yield from read_archive(source, is_wanted, LARGEST_KEPT)
        return
    for path in sorted(Store(source).records.rglob(f"*{SUFFIX}")):
        if is_wanted(path.name):
            try:
                yield path.name, read_regular(path)
            except OSError as error:
                raise RecordError(f"cannot read {str(path)!r}: {error.strerror or error}") from error


def read_records(source: Path, refused: list[str]) -> Iterator[Record]:
    """Yield the valid records of an archive or a results folder.

    Args:
        source: An archive or a results folder.
        refused: Receives one line for each record that is not valid or not in its place.

    Raises:
        RecordError: The source does not exist, or cannot be read.
    """
    for each in _incoming(source):
        if each.problem:
            refused.append(each.problem)
        elif each.record:
            yield each.record


@dataclass(frozen=True)
class _Incoming:
    """A record of a source, or the `problem` for which it is refused; with both, it is in a wrong place."""

    where: str
    record: Record | None
    problem: str = ""


def _incoming(source: Path) -> Iterator[_Incoming]:
    if source.is_dir():
        store = Store(source)
        unreadable: list[str] = []
        yield from (_from_file(path, store) for path in store.paths(unreadable))
        yield from (_Incoming(repr(str(source)), None, line) for line in unreadable)
    elif source.is_file():
        yield from (_from_member(f"{name!r} in {str(source)!r}", data) for name, data in read_archive(source))
    else:
        raise RecordError(f"{str(source)!r} is not there; name an archive or a results folder")


def _from_file(path: Path, store: Store) -> _Incoming:
    where = repr(str(path))
    try:
        record = read_record(path)
    except RecordError as error:
        return _Incoming(where, None, str(error))
    place = store.path(record.cell)
    if path == place:
        return _Incoming(where, record)
    problem = f"record {where} belongs at {str(place)!r}"
    if place.exists():
        return _Incoming(
            where, record, f"{problem}, where another record is; keep one, move the other out of the folder"
        )
    return _Incoming(where, record, f"{problem}; move it")


def _from_member(where: str, data: bytes) -> _Incoming:
    try:
        return _Incoming(where, parse_record(data, f"record {where}"))
    except RecordError as error:
        return _Incoming(where, None, str(error))


class _Tally:
    """The records compared so far, by key; only digests of their contents are kept."""

    def __init__(self, store: Store | None) -> None:
        self.count = 0
        self.empty: list[str] = []
        self._store = store
        self._contents: dict[str, str] = {}
        self._places: dict[str, str] = {}
        self._verdicts: dict[str, Literal["new", "same", "conflict"]] = {}
        self._failures: set[str] = set()
        self._disputed: dict[str, str] = {}
        self._misplaced: list[tuple[str, str, str]] = []
        self._refused: list[str] = []
        self._pruners = Counter[str]()

    def add(self, each: _Incoming) -> None:
        self.count += 1
        if each.problem:
            self._refused.append(each.problem)
        if each.record is None:
            return
        key, content = each.record.key, content_digest(each.record)
        if each.problem:
            self._misplaced.append((key, content, each.where))
            return
        self._pruners[each.record.cell.pruner.name] += 1
        if key not in self._contents:
            self._contents[key], self._places[key] = content, each.where
            self._verdicts[key] = self._verdict(each.record, content)
        elif self._contents[key] != content:
            self._disputed[key] = f"{self._places[key]} and {each.where}"

    def _verdict(self, record: Record, content: str) -> Literal["new", "same", "conflict"]:
        try:
            ours = self._store.get(record.cell) if self._store else None
        except RecordError:
            return "conflict"
        if ours is None:
            return "new"
        if content_digest(ours) == content:
            return "same"
        if ours.status == "ok" and record.status != "ok":
            self._failures.add(record.key)
        return "conflict"

    def comparison(self) -> Comparison:
        # A record in a wrong place counts against another content in the right place.
        for key, content, where in self._misplaced:
            if self._contents.get(key, content) != content:
                self._disputed[key] = f"{self._places[key]} and {where}"
        agreed = {key: self._verdicts[key] for key in sorted(self._verdicts) if key not in self._disputed}
        return Comparison(
            new=tuple(key for key, verdict in agreed.items() if verdict == "new"),
            same=tuple(key for key, verdict in agreed.items() if verdict == "same"),
            conflicts={key: self._places[key] for key, verdict in agreed.items() if verdict == "conflict"},
            disputed=dict(sorted(self._disputed.items())),
            refused=tuple(self._refused),
            failures=tuple(sorted(self._failures & agreed.keys())),
            pruners=dict(sorted(self._pruners.items())),
            empty=tuple(self.empty),
        )
