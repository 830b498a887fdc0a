"""Results folders: one JSON file per record, written atomically and never overwritten."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from synflow_bench.errors import RecordError
from synflow_bench.files import is_clutter, replacement, write_atomically
from synflow_bench.records.reading import Result, ResultReader, read_record
from synflow_bench.records.record import SCHEMA, Record, key_of
from synflow_bench.suites import Cell


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
            RecordError: The record is not valid.
        """
        path = self.path(cell)
        return read_record(path) if path.exists() else None

    def put(self, record: Record) -> Path:
        """Write `record` and return its path; the one that it replaces is kept in `replaced/`.

        At every moment the old record or the new one is in its place.

        Raises:
            RecordError: The folder cannot be written.
        """
        self._mark_schema()
        path = self.path(record.cell)
        if path.exists():
            with replacement(self._replaced(path)) as kept:
                kept.write_bytes(path.read_bytes())
        write_atomically(path, record.to_json())
        return path

    def set_aside(self, path: Path) -> Path:
        """Move the file of a record to `replaced/`, under a name of its own, and return its new path."""
        target = self._replaced(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
        return target

    def _replaced(self, path: Path) -> Path:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        return self.root / "replaced" / path.relative_to(self.records).with_suffix(f".{stamp}.json")

    def paths(self) -> list[Path]:
        """Return the files of all records, in a fixed order; hidden files and folders hold none."""
        return sorted(map(Path, _json_files(str(self.records))))

    def __iter__(self) -> Iterator[Record]:
        """Iterate over all records in a fixed order.

        Raises:
            RecordError: A record is not valid, or two files have one key.
        """
        paths = self.paths()
        _refuse_duplicates(map(str, paths))
        return (read_record(path) for path in paths)

    def results(self, unreadable: list[str] | None = None) -> list[Result]:
        """Return the parts of all records that a leaderboard needs, in a fixed order.

        Args:
            unreadable: Receives one line for each record that is not valid; by default such a record raises.

        Raises:
            RecordError: A record is not valid, or two files have one key.
        """
        read, paths = ResultReader().read, sorted(_json_files(str(self.records)))
        _refuse_duplicates(paths)
        if unreadable is None:
            return [read(path) for path in paths]
        found = []
        for path in paths:
            try:
                found.append(read(path))
            except RecordError as error:
                unreadable.append(str(error))
        return found

    def find(self, key: str) -> Record:
        """Return the record whose key starts with `key`.

        Raises:
            RecordError: No record or several have such a key, or the record is not valid.
        """
        found = [path for path in self.paths() if path.stem.startswith(key)]
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
            schema = json.loads(marker.read_text(encoding="utf-8-sig"))["schema"]
        except FileNotFoundError:
            return
        except NotADirectoryError:
            raise RecordError(f"{str(self.root)!r} is not a folder; choose another results folder") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RecordError(
                f'unreadable {str(marker)!r} ({error}); write {{"schema": {SCHEMA}}} into it'
            ) from error
        if schema != SCHEMA:
            raise RecordError(
                f"results folder {str(self.root)!r} holds records of schema {schema}, this synflow-bench "
                f"writes schema {SCHEMA}; choose another results folder, or the version that wrote it"
            )

    def _mark_schema(self) -> None:
        marker = self.root / "store.json"
        if not marker.exists():
            write_atomically(marker, json.dumps({"schema": SCHEMA}) + "\n")


def file_name(cell: Cell) -> str:
    """Return the name of the file of a cell's record."""
    return f"{key_of(cell)}.json"


def _json_files(folder: str) -> Iterator[str]:
    """Yield the paths of JSON files, without the cost of a Path for each.

    Left out are hidden files and folders, such as those of notebooks and of other systems.

    Raises:
        RecordError: A folder cannot be read.
    """
    for directory, folders, names in os.walk(folder, onerror=_unreadable):
        folders[:] = [name for name in folders if not is_clutter(name)]
        json_files = (name for name in names if name.endswith(".json") and not is_clutter(name))
        yield from (os.path.join(directory, name) for name in json_files)  # noqa: PTH118


def _unreadable(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise RecordError(
            f"cannot read folder {str(error.filename)!r}: {error.strerror}; make it readable, or move it away"
        ) from error


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
