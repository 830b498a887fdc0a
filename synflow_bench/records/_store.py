"""A results folder: one JSON file a record, written atomically, never written over."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from synflow_bench.errors import RecordError
from synflow_bench.records._read import read_record
from synflow_bench.records._record import SCHEMA, Record, key_of
from synflow_bench.records._result import Result, ResultReader
from synflow_bench.suites import Cell


class Store:
    """The records below `<root>/records`; `<root>/replaced` keeps those that later ones took the place of."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.records = root / "records"
        self._check_schema()

    def path(self, cell: Cell) -> Path:
        """Where the record of `cell` is, or would be."""
        return self.folder(cell) / file_name(cell)

    def folder(self, cell: Cell) -> Path:
        """Where the records of all cells are that have the data set, network and pruner of `cell`."""
        return self.records / f"{cell.setting.dataset}/{cell.setting.model.name}/{cell.pruner.name}"

    def get(self, cell: Cell) -> Record | None:
        """The record of `cell`, or None; an unreadable one is a `RecordError`."""
        path = self.path(cell)
        return read_record(path) if path.exists() else None

    def put(self, record: Record) -> Path:
        """Write `record`; one that was there before is kept under `replaced/`.

        At every moment the old record or the new one is in its place. Raises `RecordError` if the folder
        cannot be written.
        """
        self._mark_schema()
        path = self.path(record.cell)
        if path.exists():
            self._keep(path)
        write_atomically(path, record.to_json())
        return path

    def _keep(self, path: Path) -> None:
        target = self._aside(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
        except OSError as error:
            raise RecordError(f"cannot write {str(target)!r}: {error.strerror or error}") from error

    def set_aside(self, path: Path) -> Path:
        """Move the file of a record to `replaced/`, under a name of its own."""
        target = self._aside(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
        return target

    def _aside(self, path: Path) -> Path:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        return self.root / "replaced" / path.relative_to(self.records).with_suffix(f".{stamp}.json")

    def paths(self) -> list[Path]:
        """The files of all records, in a fixed order."""
        return sorted(self.records.rglob("*.json"))

    def __iter__(self) -> Iterator[Record]:
        """Every record, in a fixed order; raises `RecordError`, also for a key in two files."""
        paths = self.paths()
        _refuse_twins(map(str, paths))
        return (read_record(path) for path in paths)

    def results(self) -> list[Result]:
        """What a leaderboard needs of every record, in a fixed order.

        Raises `RecordError`, also for a key in two files.
        """
        read, paths = ResultReader().read, sorted(_json_files(str(self.records)))
        _refuse_twins(paths)
        return [read(path) for path in paths]

    def find(self, key: str) -> Record:
        """The record whose key starts with `key`."""
        found = [path for path in self.paths() if path.stem.startswith(key)]
        if not found:
            raise RecordError(
                f"no record {key!r} in {str(self.root)!r}; `synflow-bench results list` names them"
            )
        _refuse_twins(map(str, found))
        if len(found) > 1:
            raise RecordError(
                f"{len(found)} records start with {key!r} in {str(self.root)!r}; give more digits"
            )
        return read_record(found[0])

    def _check_schema(self) -> None:
        marker = self.root / "store.json"
        try:
            schema = json.loads(marker.read_text(encoding="utf-8"))["schema"]
        except FileNotFoundError:
            return
        except NotADirectoryError:
            raise RecordError(
                f"{str(self.root)!r} is not a folder; choose another one with --results"
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RecordError(
                f'unreadable {str(marker)!r} ({error}); write {{"schema": {SCHEMA}}} into it'
            ) from error
        if schema != SCHEMA:
            raise RecordError(
                f"results folder {str(self.root)!r} holds records of schema {schema}, this synflow-bench "
                f"writes schema {SCHEMA}; choose another folder with --results, or the version that wrote it"
            )

    def _mark_schema(self) -> None:
        marker = self.root / "store.json"
        if not marker.exists():
            write_atomically(marker, json.dumps({"schema": SCHEMA}) + "\n")


def file_name(cell: Cell) -> str:
    """The name of the file of a cell's record."""
    return f"{key_of(cell)}.json"


def _json_files(folder: str) -> Iterator[str]:
    """What `Path.rglob` finds, without a Path for each."""
    for directory, _, names in os.walk(folder):
        yield from (os.path.join(directory, name) for name in names if name.endswith(".json"))  # noqa: PTH118


def _refuse_twins(paths: Iterable[str]) -> None:
    """Raise `RecordError` where two files have one name, which is their records' key."""
    seen: dict[str, str] = {}
    for path in paths:
        name = path.rpartition(os.sep)[2]
        if seen.setdefault(name, path) != path:
            raise RecordError(
                f"two records have the key {name.removesuffix('.json')!r}: {seen[name]!r} and {path!r}; "
                "keep one, move the other out of the folder (`synflow-bench results verify` compares them)"
            )


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a whole file or nothing, its folder made if missing. Raises `RecordError` if it cannot."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(path, error) from error
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file that becomes `path` when all is written: temporary file, fsync, rename. Raises `RecordError`."""
    temporary = path.with_name(f".{path.stem}-{os.getpid()}-{os.urandom(4).hex()}.tmp")
    try:
        # Not mkstemp: its files are for their owner alone, and results are shared.
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _cannot_write(path: Path, error: OSError) -> RecordError:
    return RecordError(f"cannot write {str(path)!r}: {error.strerror or error}")
