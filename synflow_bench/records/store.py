"""Results folders: one JSON file per record, written atomically and never overwritten."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

from synflow_bench.errors import RecordError, is_plain_name
from synflow_bench.files import (
    is_clutter,
    locked,
    make_folder,
    read_regular,
    remove_stale,
    sync_folder,
    write_atomically,
)
from synflow_bench.records.reading import OtherSchemaError, Result, ResultReader, read_record
from synflow_bench.records.record import SCHEMA, Record, Status, key_of
from synflow_bench.suites import Cell

_PROBE = 2**20
"""The bytes that a disk must have room for before a run."""


class Store:
    """A results folder: the records below `<root>/records`, and replaced ones below `<root>/replaced`.

    Args:
        root: The folder; it is made when the first record is written.

    Raises:
        RecordError: The folder is a file, or holds records of another schema.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.records = root / "records"
        self._check_schema()

    def path(self, cell: Cell) -> Path:
        """Return the path of the record of `cell`, whether it exists or not."""
        return self.folder(cell) / file_name(cell)

    def folder(self, cell: Cell) -> Path:
        """Return the folder for all cells with the dataset, model and pruner of `cell`."""
        return self.records / f"{cell.setting.dataset_label}/{cell.setting.model.name}/{cell.pruner.name}"

    def get(self, cell: Cell) -> Record | None:
        """Return the record of `cell`, or None.

        Raises:
            RecordError: The record is not valid, or cannot be read.
        """
        path = self.path(cell)
        try:
            path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise RecordError(f"unreadable record {str(path)!r}: {error.strerror}") from error
        return read_record(path)

    def put(self, record: Record, *, as_it_is: bool = False) -> Path:
        """Write `record` and return its path; the one that it replaces is kept in `replaced/`.

        At every moment the old record or the new one is in its place. A record that is not `ok` never takes
        the place of a valid one that is, whoever writes it: it is written to `replaced/` instead.

        Args:
            record: The record.
            as_it_is: Leave a record without a sha256, of an older version, without one.

        Raises:
            RecordError: The folder cannot be written.
        """
        self._mark_schema()
        record = record if as_it_is else record.sealed()
        path = self.path(record.cell)
        with self._locked():
            if path.exists():
                if record.status != "ok" and _is_good(path):
                    path = self._replaced(path)
                else:
                    self._keep(path)
            write_atomically(path, record.to_json())
        return path

    def set_aside(self, path: Path) -> Path:
        """Move the file of an invalid record to `replaced/`, under its own name, and return its new path.

        One that is valid stays, and one that is gone is no error: another run may have been faster.

        Raises:
            RecordError: The folder cannot be written.
        """
        target = self._replaced(path)
        with self._locked():
            if path.exists() and not _is_good(path, status=None):
                try:
                    make_folder(target.parent)
                    path.rename(target)
                except OSError as error:
                    raise RecordError(
                        f"cannot move {str(path)!r} to {str(target)!r}: {error.strerror}"
                    ) from error
                sync_folder(target.parent)
                sync_folder(path.parent)
        return target

    def check_writable(self, cells: Iterable[Cell]) -> None:
        """Check that the records of `cells` can be written, before hours are spent on them.

        Temporary files that killed processes have left are deleted.

        Raises:
            RecordError: The folder, or the disk, does not allow it.
        """
        self._mark_schema()
        for folder in (self.records, self.root / "replaced"):
            remove_stale(folder)
        with self._locked():
            probe = self.records / ".probe.tmp"  # which `remove_stale` deletes, should this process be killed
            write_atomically(probe, bytes(_PROBE))
            probe.unlink(missing_ok=True)
        for folder in {self.folder(cell): None for cell in cells}:
            there = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
            if not there.is_dir():
                raise RecordError(f"cannot write below {str(there)!r}: it is no folder; move it away")
            if not os.access(there, os.W_OK | os.X_OK):
                raise RecordError(f"cannot write below {str(there)!r}; make the folder writable")

    def verify(self, cells: Iterable[Cell]) -> list[str]:
        """Return a line for each of `cells` that has no valid record."""
        problems: list[str] = []
        self.results_of(cells, problems)
        return problems

    def results_of(
        self,
        cells: Iterable[Cell],
        problems: list[str],
        is_expected: Callable[[Cell], bool] = lambda _: True,
    ) -> list[Result]:
        """Return the results of `cells`, which are checked in full.

        Args:
            cells: The cells.
            problems: Receives a line for each record that is not valid, and for each one that is missing.
            is_expected: Called with a cell without a record; False if that is no problem.
        """
        reader, found = ResultReader(), []
        for cell in cells:
            path = self.path(cell)
            try:
                if os.path.lexists(path):
                    found.append(reader.read(str(path), in_full=True))
                elif is_expected(cell):
                    problems.append(f"record {str(path)!r} of {cell.title} is missing; run the cell again")
            except RecordError as error:
                problems.append(str(error))
        return found

    def names_in(self, folder: Path) -> frozenset[str]:
        """Return the names in a folder of records, none if it does not exist.

        Raises:
            RecordError: It cannot be read.
        """
        try:
            return frozenset(os.listdir(folder))  # noqa: PTH208  a Path of each costs more
        except (FileNotFoundError, NotADirectoryError):
            return frozenset()
        except OSError as error:
            raise RecordError(_unreadable(error)) from error

    def paths(self, unreadable: list[str] | None = None) -> list[Path]:
        """Return the files of all records, in a fixed order; hidden files and folders hold none.

        Args:
            unreadable: Receives one line for each folder that cannot be read; by default such a folder
                raises.

        Raises:
            RecordError: A folder cannot be read.
        """
        return sorted(map(Path, _json_files(str(self.records), unreadable)))

    def read_all(self, unreadable: list[str]) -> Iterator[Record]:
        """Iterate over all valid records in a fixed order.

        Args:
            unreadable: Receives one line for each other record, and for each folder that cannot be read.

        Raises:
            RecordError: Two files have one key.
        """
        paths = self.paths(unreadable)
        _refuse_duplicates(map(str, paths))
        for path in paths:
            try:
                yield read_record(path)
            except RecordError as error:
                unreadable.append(str(error))

    def __iter__(self) -> Iterator[Record]:
        """Iterate over all records in a fixed order.

        Raises:
            RecordError: A record is not valid, or two files have one key.
        """
        paths = self.paths()
        _refuse_duplicates(map(str, paths))
        return (read_record(path) for path in paths)

    def results(self, unreadable: list[str] | None = None, *, in_full: bool = False) -> list[Result]:
        """Return the parts of all records that a leaderboard needs, in a fixed order.

        Args:
            unreadable: Receives one line for each record that is not valid, and for each folder that cannot
                be read; by default such a record or folder raises.
            in_full: Check curves and provenances even in files without a sha256.

        Raises:
            RecordError: A record is not valid, or two files have one key.
        """
        read, paths = ResultReader().read, sorted(_json_files(str(self.records), unreadable))
        _refuse_duplicates(paths)
        if unreadable is None:
            return [read(path, in_full=in_full) for path in paths]
        found = []
        for path in paths:
            try:
                found.append(read(path, in_full=in_full))
            except RecordError as error:
                unreadable.append(str(error))
        return found

    def find(self, key: str) -> Record:
        """Return the record whose key starts with `key`.

        Raises:
            RecordError: No record or several have such a key, or the record is not valid.
        """
        unreadable: list[str] = []
        found = [path for path in self.paths(unreadable) if path.stem.startswith(key)]
        if not found and unreadable:
            raise RecordError(unreadable[0])
        if not found:
            raise RecordError(
                f"no record {key!r} in {str(self.root)!r}; `synflow-bench results list` names them"
            )
        _refuse_duplicates(map(str, found))
        if len(found) > 1:
            raise RecordError(
                f"{len(found)} records start with {key!r} in {str(self.root)!r}; give more digits"
            )
        return read_record(found[0])

    def _check_schema(self) -> None:
        marker = self.root / "store.json"
        try:
            schema = json.loads(read_regular(marker).decode("utf-8-sig"))["schema"]
        except FileNotFoundError:
            return
        except NotADirectoryError:
            raise RecordError(f"{str(self.root)!r} is not a folder; choose another results folder") from None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise RecordError(
                f'unreadable {str(marker)!r} ({error}); write {{"schema": {SCHEMA}}} into it'
            ) from error
        if schema != SCHEMA:
            raise RecordError(
                f"results folder {str(self.root)!r} holds records of schema {schema}, this synflow-bench "
                f"writes schema {SCHEMA}; choose another results folder, or the version that wrote it"
            )

    def _locked(self) -> AbstractContextManager[None]:
        """Keep other processes from writing records: between looking at a record and replacing it."""
        return locked(self.root / ".lock")

    def _keep(self, path: Path) -> None:
        try:
            content = read_regular(path)
        except FileNotFoundError:  # a link to nothing
            return
        except OSError as error:
            raise RecordError(f"cannot keep {str(path)!r} in 'replaced': {error.strerror}") from error
        write_atomically(self._replaced(path), content)

    def _replaced(self, path: Path) -> Path:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        return self.root / "replaced" / path.relative_to(self.records).with_suffix(f".{stamp}.json")

    def _mark_schema(self) -> None:
        marker = self.root / "store.json"
        if not marker.exists():
            write_atomically(marker, json.dumps({"schema": SCHEMA}) + "\n")


def file_name(cell: Cell) -> str:
    """Return the name of the file of a cell's record."""
    return f"{key_of(cell)}.json"


def _is_good(path: Path, status: Status | None = "ok") -> bool:
    """Return True for a valid record, of this status unless it is None."""
    try:
        record = read_record(path)
    except OtherSchemaError:
        return True
    except RecordError:
        return False
    return status is None or record.status == status


def _json_files(folder: str, unreadable: list[str] | None = None) -> Iterator[str]:
    """Yield the paths of JSON files, without the cost of a Path for each.

    Left out are hidden files and folders, such as those of notebooks and of other systems.

    Args:
        folder: The folder.
        unreadable: Receives one line for each folder that cannot be read.

    Raises:
        RecordError: A folder cannot be read, and there is no `unreadable`.
    """

    def report(error: OSError) -> None:
        if unreadable is None:
            raise RecordError(_unreadable(error)) from error
        unreadable.append(_unreadable(error))

    if not os.path.lexists(folder):
        return
    for directory, folders, names in os.walk(folder, onerror=report):
        folders[:] = [name for name in folders if is_plain_name(name) or not is_clutter(name)]
        json_files = (name for name in names if name.endswith(".json") and not is_clutter(name))
        yield from (os.path.join(directory, name) for name in json_files)  # noqa: PTH118


def _unreadable(error: OSError) -> str:
    return f"cannot read folder {str(error.filename)!r}: {error.strerror}; make it readable, or move it away"


def _refuse_duplicates(paths: Iterable[str]) -> None:
    """Raise `RecordError` if two files have one name, which is the key of their records."""
    seen: dict[str, str] = {}
    for path in paths:
        name = path.rpartition(os.sep)[2]
        if seen.setdefault(name, path) != path:
            raise RecordError(
                f"two records have the key {name.removesuffix('.json')!r}: {seen[name]!r} and {path!r}; "
                "keep one, move the other out of the folder (`synflow-bench results verify` compares them)"
            )
