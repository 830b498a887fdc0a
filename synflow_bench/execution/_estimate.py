"""How long the missing cells of a plan will take, from what was measured and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, islice
from pathlib import Path
from statistics import fmean

from synflow_bench.errors import HandledError, RecordError
from synflow_bench.execution._bench import make_bench
from synflow_bench.execution._executor import Resources
from synflow_bench.execution._plan import Plan
from synflow_bench.protocols import Bench
from synflow_bench.records import Record, Store, read_record
from synflow_bench.speed import BRIEF, Book, Machine, Sampled, Speed, Workload, book_path, measure
from synflow_bench.suites import Cell, Setting
from synflow_bench.training import resolve_devices

RECORDS = 200
"""How many records of a setting are read: enough for a mean."""


@dataclass(frozen=True)
class Estimate:
    """Seconds that a cell of `setting` takes one worker, and how they were found; None where that failed.

    Of cells that are trained together, it is each one's share.
    """

    setting: Setting
    cells: int
    seconds: float | None
    source: str


@dataclass(frozen=True)
class Crew:
    """How many workers there are, and how many cells of a setting one of them may train together."""

    workers: int = 1
    most_together: int = 1

    def together(self, cells: int) -> int:
        """How many of `cells` cells go together, as the executor deals them out."""
        return max(1, min(self.most_together, -(-cells // self.workers)))


def estimate(plan: Plan, store: Store, resources: Resources, crew: Crew = Crew()) -> list[Estimate]:
    """The time of the missing cells of `plan`, setting by setting.

    It is the mean over the recorded cells of a setting where there are any, whatever their pruner; else it
    follows from what `synflow-bench bench` measured on this machine; else from a few training steps in this
    process, and pruning comes on top.
    """
    place = _Place(resources)
    return [
        _recorded(cells, store) or _measured(cells, place, crew) or _timed(cells, place, crew)
        for cells in by_setting(plan.missing)
    ]


def by_setting(cells: Sequence[Cell]) -> list[list[Cell]]:
    """The cells of each setting, in the order of their first ones."""
    order = {digest: n for n, digest in enumerate(dict.fromkeys(cell.setting.digest for cell in cells))}
    ordered = sorted(cells, key=lambda cell: order[cell.setting.digest])
    return [list(group) for _, group in groupby(ordered, key=lambda cell: cell.setting.digest)]


@dataclass(frozen=True)
class _Place:
    """What this process needs to look up and to measure; made only where it is asked for."""

    resources: Resources

    @cached_property
    def bench(self) -> Bench:
        device = str(resolve_devices(self.resources.device)[0])
        return make_bench(self.resources.data_root, device, self.resources.threads, self.resources.plugins)

    @cached_property
    def book(self) -> Book:
        try:
            return Book.read(book_path(self.resources.data_root))
        except HandledError:  # `bench` says so, and writes it anew; here other ways are left
            return Book()

    @cached_property
    def machine(self) -> Machine:
        return Machine.of(self.bench)


def _recorded(cells: Sequence[Cell], store: Store) -> Estimate | None:
    setting = cells[0].setting
    seconds = list(islice(_seconds_recorded(setting, store), RECORDS))
    source = f"the mean of {len(seconds)} recorded"
    return Estimate(setting, len(cells), fmean(seconds), source) if seconds else None


def _measured(cells: Sequence[Cell], place: _Place, crew: Crew) -> Estimate | None:
    setting = cells[0].setting
    kind = place.bench.host.datasets.get(setting.dataset)
    speed = place.book.find(place.machine, Workload.of(setting, kind))
    if speed is None:
        return None
    source = f"from `synflow-bench bench` of {speed.measured}{_not_timed(cells, speed)}"
    return expected(cells, speed, kind.sizes, crew, source)


def _timed(cells: Sequence[Cell], place: _Place, crew: Crew) -> Estimate:
    setting = cells[0].setting
    try:
        speed = measure(setting, Sampled.of(place.bench), patience=BRIEF)
    except HandledError as error:
        return Estimate(setting, len(cells), None, f"not measured: {error}")
    sizes = place.bench.host.datasets.get(setting.dataset).sizes
    return expected(cells, speed, sizes, crew, "from a few timed training steps, without pruning")


def expected(
    cells: Sequence[Cell], speed: Speed, sizes: tuple[int, int], crew: Crew, source: str
) -> Estimate:
    """The estimate of cells of one setting, whose workload has `speed` and whose data set has `sizes`."""
    together = crew.together(len(cells))
    seconds = fmean(speed.seconds(cell, sizes, together) for cell in cells)
    return Estimate(cells[0].setting, len(cells), seconds, source)


def _not_timed(cells: Sequence[Cell], speed: Speed) -> str:
    """Which share of the pruners is taken to be as slow as the mean."""
    labels = {cell.pruner.label for cell in cells if not cell.is_dense}
    others = len(labels - set(speed.pruning))
    if not others or not speed.pruning:
        return ", without pruning" if others else ""
    return f", {others} of {len(labels)} pruners taken as the mean of {len(speed.pruning)}"


def _seconds_recorded(setting: Setting, store: Store) -> Iterator[float]:
    folder = store.records / setting.dataset / setting.model.name  # other recipes have theirs there too
    for path in sorted(folder.rglob("*.json")):
        record = _readable(path)
        if record and record.timing and record.cell.setting.digest == setting.digest:
            yield record.timing.total_seconds


def _readable(path: Path) -> Record | None:
    try:
        return read_record(path)
    except RecordError:
        return None
