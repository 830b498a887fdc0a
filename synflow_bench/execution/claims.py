"""Claims: any number of runs share a results folder, and each cell is computed by one of them.

A claim is the folder `<results>/claims/<key>` that holds one empty file, named like the run that owns it.
It is made by renaming a prepared folder, which succeeds only if the target is not there or is empty.
A stale claim is taken over by renaming its file from the name of the old owner to that of the new one, which
succeeds once. Both are single operations of the file system, also on NFS.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from synflow_bench.errors import RecordError
from synflow_bench.protocols import Checkpoints
from synflow_bench.records import Record, Store, key_of
from synflow_bench.runs import WATCHED, RunFile, Runs
from synflow_bench.suites import Cell

_ATTEMPTS = 8
"""The number of times that a claim is tried while others take and release it."""

CHECK = 1.0
"""The seconds for which the answer is kept that a run is alive."""


class ClaimFolder:
    """The claims of one run, as folders that only one run can make.

    Args:
        root: The results folder.
        run: The name of the run, which is unique.
        is_alive: Called with the name of another run and the file of a claim of it; False if it has ended.
    """

    def __init__(self, root: Path, run: str, is_alive: Callable[[str, Path], bool]) -> None:
        self.folder = root / "claims"
        self.run = run
        self._is_alive = is_alive
        self._prepared = self.folder / f".{run}"

    def take(self, key: str) -> bool:
        """Claim a cell; return False if a run that is alive owns it.

        Raises:
            RecordError: The folder cannot be written.
        """
        try:
            return self._take(key)
        except OSError as error:
            raise RecordError(f"cannot write {str(self.folder)!r}: {error.strerror or error}") from error

    def owner(self, key: str) -> str | None:
        """Return the run that owns a cell; None if it is free.

        Raises:
            RecordError: The claim cannot be read.
        """
        place = self.folder / key
        try:
            return next(iter(os.listdir(place)), None)  # noqa: PTH208  a Path for each takes time
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise RecordError(f"cannot read {str(place)!r}: {error.strerror or error}") from error

    def is_free(self, key: str, known: str | None = None) -> bool:
        """Return True if `take` would probably succeed.

        Args:
            key: The key of the cell.
            known: Its owner a moment ago: to look at one file costs less than to list the folder.

        Raises:
            RecordError: The claim cannot be read.
        """
        is_same = known is not None and os.path.exists(self.folder / key / known)  # noqa: PTH110
        owner = known if is_same else self.owner(key)
        return owner is None or owner == self.run or not self._is_alive(owner, self.folder / key / owner)

    def holds(self, key: str) -> bool:
        """Return True if this run owns the cell; another one may have taken it over."""
        return (self.folder / key / self.run).exists()

    def release(self, key: str) -> None:
        """Let other runs claim the cell."""
        with suppress(OSError):
            (self.folder / key / self.run).unlink()
            (self.folder / key).rmdir()

    def close(self) -> None:
        """Release all cells, also those of runs that have ended."""
        try:
            places = list(self.folder.iterdir())
        except OSError:
            return
        for place in places:
            with suppress(OSError, RecordError):  # one of another user
                owner = place.name[1:] if place.name.startswith(".") else self.owner(place.name)
                if owner and (owner == self.run or not self._is_alive(owner, place / owner)):
                    (place / owner).unlink(missing_ok=True)
                    place.rmdir()

    def _take(self, key: str) -> bool:
        place = self.folder / key
        for _ in range(_ATTEMPTS):
            owner = self.owner(key)
            if owner is None:
                self._take_free(place)
            elif owner != self.run and self._is_alive(owner, place / owner):
                return False
            else:
                with suppress(FileNotFoundError):  # another run was faster, or the owner has released it
                    (place / owner).rename(place / self.run)
            if self.holds(key):  # asked, because a reply of NFS may be lost and the operation be repeated
                return True
        return False

    def _take_free(self, place: Path) -> None:
        self._prepared.mkdir(parents=True, exist_ok=True)
        (self._prepared / self.run).touch()
        try:
            self._prepared.rename(place)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            with suppress(OSError):  # SMB does not replace an empty folder
                place.rmdir()


class CellClaims:
    """The cells of a run that shares its results with no other one: an executor may start all of them."""

    def take(self, cell: Cell) -> bool:  # noqa: ARG002
        """Return True if this run computes the cell, which a worker is about to start."""
        return True

    def give_back(self, cell: Cell) -> None:
        """Let other runs have a cell that was taken but not started."""


class SharedCells(CellClaims):
    """The missing cells of a plan, which this run divides with others that use the same results folder.

    A cell that another run owns is remembered, until there is a record of it or its owner has gone.

    Attributes:
        on_start: Called with every cell that this run starts.
        on_return: Called with every cell that it has started, and that waits again.
        on_found: Called with every record of another run that makes a cell needless here.
        on_neighbor: Called with the titles of other runs, once for each that is seen.

    Args:
        store: The results folder.
        run_file: The open file of this run.
        forced: Recorded cells are run again, unless another run has done so since then.
        since: The time from which on records of other runs count; by default the start of this one.
    """

    def __init__(
        self, store: Store, run_file: RunFile, *, forced: bool = False, since: float | None = None
    ) -> None:
        self._store, self._run_file, self._forced = store, run_file, forced
        self._since = run_file.opened if since is None else since
        self._checkpoints = Checkpoints.of(store.root)
        self._runs = Runs(store.root, WATCHED)
        self._claims = ClaimFolder(store.root, run_file.name, self._is_alive)
        self._checked: dict[str, tuple[float, bool]] = {}
        self._others: dict[str, tuple[Cell, str | None]] = {}
        self._recorded: list[Record] = []
        self._started: set[str] = set()
        self.on_start: Callable[[Cell], None] = lambda _: None
        self.on_return: Callable[[Cell], None] = lambda _: None
        self.on_found: Callable[[Record], None] = lambda _: None
        self.on_neighbor: Callable[[str], None] = lambda _: None
        self._named: set[str] = {run_file.name}

    def take(self, cell: Cell) -> bool:
        """Claim a cell for a worker of this run; return False if another run owns it or has recorded it.

        An invalid record in its place is moved below `replaced/`. In a forced run the cell begins anew,
        without a checkpoint from before.

        Raises:
            RecordError: The folder cannot be written.
        """
        key = key_of(cell)
        if key not in self._started:
            if not self._claims.take(key):
                owner = self._claims.owner(key)
                self._others[key] = cell, owner
                self._name(*filter(None, [owner]))
                return False
            if record := self._done_elsewhere(cell):
                self._recorded.append(record)
                self._claims.release(key)
                return False
            self._started.add(key)
            if self._forced:
                self._checkpoints.discard(key, until=self._since)
        self.on_start(cell)
        return True

    def give_back(self, cell: Cell) -> None:
        """Release a cell that was taken; the executor keeps it and takes it again later."""
        self._started.discard(key_of(cell))
        self._claims.release(key_of(cell))
        self.on_return(cell)

    def name_others(self) -> None:
        """Report the runs that share the folder with this one."""
        self._name(*(state.run for state in self._runs.states()))

    def keep(self, record: Record) -> bool:
        """Write a record and release its cell; return False if another run has recorded it meanwhile."""
        key = record.key
        if not self._claims.holds(key) and (other := self._done_elsewhere(record.cell)):
            self._recorded.append(other)
            return False
        self._store.put(record)
        self._claims.release(key)
        return True

    def found(self) -> list[Record]:
        """Return the records that other runs have written since the last call."""
        for key, (cell, _) in list(self._others.items()):
            if self._store.path(cell).exists() and (record := self._done_elsewhere(cell)):
                self._recorded.append(record)
                del self._others[key]
        found, self._recorded = self._recorded, []
        return found

    def left_by_others(self) -> list[Cell]:
        """Return the cells whose owners have gone without a record; they are no longer remembered."""
        others = self._others.items()
        free = {key: cell for key, (cell, owner) in others if self._claims.is_free(key, owner)}
        for key in free:
            del self._others[key]
        return list(free.values())

    @property
    def waiting(self) -> int:
        """The number of cells that other runs own."""
        return len(self._others)

    def close(self) -> None:
        """Release all cells, and remove what runs have left behind that have ended."""
        self._claims.close()
        self._runs.remove_ended()

    def _done_elsewhere(self, cell: Cell) -> Record | None:
        """Return the record that another run has written since the plan was made, if it counts."""
        path = self._store.path(cell)
        try:
            record = self._store.get(cell)
            is_new = record is not None and path.stat().st_mtime >= self._since
        except FileNotFoundError:
            return None
        except RecordError:
            if self._claims.holds(key_of(cell)):
                with suppress(FileNotFoundError):
                    self._store.set_aside(path)
            return None
        if record is None or record.outcome == "skipped":  # what is missing there may be here
            return None
        return record if is_new or (record.outcome in ("ok", "not defined") and not self._forced) else None

    def _is_alive(self, run: str, claim: Path) -> bool:
        now = time.monotonic()
        checked, alive = self._checked.get(run, (now - 2 * CHECK, True))
        if alive and now - checked >= CHECK:
            alive = self._runs.is_alive(run, self._run_file.now(), otherwise=claim)
            self._checked[run] = now, alive
        return alive

    def _name(self, *runs: str) -> None:
        fresh = {run for run in runs if run not in self._named and self._is_alive(run, self._runs.path(run))}
        self._named |= fresh
        if titles := [state.title for state in self._runs.states() if state.run in fresh]:
            self.on_neighbor("; ".join(titles))


@contextmanager
def shared_cells(
    store: Store, *, forced: bool = False, since: float | None = None
) -> Iterator[tuple[SharedCells, RunFile]]:
    """Open the file of a run, and share cells under its name while the block runs.

    Raises:
        RecordError: The results folder cannot be written.
    """
    with RunFile(store.root).open() as run_file:
        cells = SharedCells(store, run_file, forced=forced, since=since)
        try:
            yield cells, run_file
        finally:
            cells.close()


def shard_of(cells: Iterable[Cell], number: int, count: int) -> list[Cell]:
    """Return one of `count` parts of the cells, `number` from 1 on.

    The part of a cell depends on nothing but its key: machines that share no folder agree on it, whatever
    other cells they know. The order stays, so that cells of one setting can be trained in one batch.
    """
    return [cell for cell in cells if int(key_of(cell), 16) % count == number - 1]
