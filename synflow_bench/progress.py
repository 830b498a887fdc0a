"""A run as its user sees it: progress, failures, loggers and signals."""

from __future__ import annotations

import shlex
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from heapq import nlargest
from pathlib import Path
from statistics import fmean
from typing import Any, TextIO

from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from synflow_bench.errors import count, printable
from synflow_bench.events import HostWatcher, Watcher
from synflow_bench.execution import ExecutorFactory, Plan, Resources, Summary, run_plan, shared_cells
from synflow_bench.host import Host, RunFinished, RunStarted
from synflow_bench.records import Epoch, Failure, Record, Store, key_of
from synflow_bench.runs import CellProgress, RunState, clock
from synflow_bench.signals import interrupted_by_signals
from synflow_bench.suites import Cell, CellTitles

LINE_INTERVAL = 10.0
"""The least seconds between plain lines while cells finish."""

LONGEST_SILENCE = 60.0
"""The seconds after which a plain line is printed even if no cell has finished."""

PRINTED_SLOWEST = 3
"""The number of slowest cells that are named at the end."""

PRINTED_COMMANDS = 50
"""The number of failures that are named at the end."""

PRINTED_FAILURES = 3
"""The number of failures with the same message that are printed; further ones are counted."""


def run_with_progress(
    plan: Plan,
    store: Store,
    host: Host,
    factory: ExecutorFactory,
    resources: Resources,
    *,
    show: bool = True,
    log: Watcher | None = None,
    since: float | None = None,
) -> Summary:
    """Run the missing cells of `plan` on an executor of `factory`, and report to the user and to loggers.

    Args:
        plan: The recorded and the missing cells.
        store: The results folder, for new records.
        host: The plugins, whose loggers are called.
        factory: The executor to make.
        resources: The data folder, the device, the workers and their threads.
        show: Show progress and failures on stderr. Loggers are called in either case.
        log: Another part that watches the run.
        since: Records of other runs count that are not older than this, by the clock of the file system; by
            default than this run.

    Returns:
        The counts of cells, and whether the run ended early.

    Raises:
        UsageError: If the executor cannot use the resources.
        DeviceError: If the device is not on this machine.
        RecordError: If a record cannot be written.
    """
    progress = Progress(plan, store.root, sys.stderr, show=show)
    watchers: list[Watcher] = [progress, HostWatcher(host), *([log] if log else [])]

    def call(event: str, *values: Any) -> None:
        for watcher in watchers:
            getattr(watcher, event)(*values)

    executor = factory(resources, partial(call, "epoch_finished"))
    known = len(plan.recorded) + len(plan.failed)
    started = RunStarted(store.root, len(plan.cells), known)
    with ExitStack() as cleanup:
        shared = None
        if plan.missing:
            cleanup.callback(executor.close)
            store.check_writable(plan.missing)
            shared, run_file = cleanup.enter_context(shared_cells(store, forced=plan.forced, since=since))
            run_file.show(progress.describe)
            shared.on_start = partial(call, "cell_started")
            shared.on_return = partial(call, "cell_returned")
            shared.on_found = partial(call, "cell_found")
            shared.on_neighbor = partial(call, "neighbor_found")
        call("run_started", started, executor.workers)
        cleanup.enter_context(progress.shown(executor.workers))
        cleanup.enter_context(interrupted_by_signals())
        if shared:
            shared.name_others()
        summary = run_plan(
            plan,
            store,
            executor,
            partial(call, "cell_finished"),
            shared,
            max_failures=resources.limits.max_failures,
        )
    ended = summary.ok, summary.failed, summary.skipped
    call("run_finished", RunFinished(store.root, len(plan.cells), known, *ended))
    progress.print_end()
    return summary


class Progress(Watcher):
    """The progress of a run: cells done and failed, the running cells, and the time left.

    On a terminal it is a live display. Elsewhere it is plain lines: one at the start, at most one per
    `LINE_INTERVAL` as cells finish, and at least one per `LONGEST_SILENCE`.

    Args:
        plan: The cells of the run.
        results: The results folder, for the command that shows a traceback.
        stream: The file to write to.
        show: Write anything at all.
    """

    def __init__(self, plan: Plan, results: Path, stream: TextIO, *, show: bool = True) -> None:
        self._results = results
        self._console = Console(file=stream, quiet=not show)
        self._plan = plan
        self._titles = CellTitles(plan.cells)
        self._total, self._done, self._failed, self._found = len(plan.missing), 0, 0, 0
        self._left = TimeLeft(plan.missing)
        self._started = self._last_line = time.monotonic()
        self._stopped = threading.Event()
        self._messages = Counter[str]()
        self._running: dict[str, tuple[Cell, Epoch | None]] = {}
        self._failures: list[tuple[str, str]] = []
        self._slowest: list[tuple[float, str, str]] = []
        self._ok = 0
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("cells"), TimeElapsedColumn())
        self._bar = Bar(*columns, TextColumn("{task.description}"), console=self._console)
        self._task = self._bar.add_task("", total=self._total)
        self._live = Live(
            get_renderable=self._render, console=self._console, refresh_per_second=4, transient=True
        )

    @contextmanager
    def shown(self, workers: int) -> Iterator[None]:
        """Show the progress while the block runs, of a run on this number of workers."""
        self._left.workers = workers
        if not self._total:
            if recorded := len(self._plan.recorded) + len(self._plan.failed):
                self._print(f"run: nothing to run, {count(recorded, 'cell')} recorded before")
            yield
        elif self._console.quiet:
            yield
        elif self._console.is_terminal:
            with self._live:
                yield
        else:
            before = f"{len(self._plan.recorded) + len(self._plan.failed)} recorded before"
            self._print(f"run: {count(self._total, 'cell')}, {before}, {count(workers, 'worker')}")
            threading.Thread(target=self._tick_in_silence, daemon=True).start()
            try:
                yield
            finally:
                self._stopped.set()

    def neighbor_found(self, title: str) -> None:
        """Print that other runs do a part of the cells."""
        line = f"warning: {str(self._results)!r} and its cells are shared with {printable(title)}"
        self._print(line, "yellow")

    def cell_started(self, cell: Cell) -> None:
        """Count a running cell."""
        self._running[key_of(cell)] = cell, None

    def cell_returned(self, cell: Cell) -> None:
        """Count a cell as waiting again."""
        self._running.pop(key_of(cell), None)

    def epoch_finished(self, cell: Cell, epoch: Epoch) -> None:
        """Show how far a running cell is."""
        self._left.epoch_finished(cell, epoch, time.monotonic())
        self._running[key_of(cell)] = cell, epoch

    def cell_found(self, record: Record) -> None:
        """Count a cell that another run has recorded."""
        self._found += 1
        self._count_record(record)

    def cell_finished(self, record: Record) -> None:
        """Count a cell, and print its failure if few had the same message."""
        if record.timing and record.status == "ok":
            self._ok += 1
            self._slowest.append((record.timing.total_seconds, record.key, self._titles.of(record.cell)))
            self._slowest = nlargest(PRINTED_SLOWEST, self._slowest)
        for line in record.provenance.warnings:
            self._print_warning(record, line)
        self._count_record(record)

    def _count_record(self, record: Record) -> None:
        self._done += 1
        self._left.cell_finished(record)
        self._running.pop(record.key, None)
        if record.error:
            if not record.error.not_defined:
                self._failed += 1
                self._failures.append((record.key, f"{self._titles.of(record.cell)}: {record.error.kind}"))
            self._print_failure(record, record.error)
        since = time.monotonic() - self._last_line
        if not self._console.is_terminal and (since >= LINE_INTERVAL or self._done == self._total):
            self._print_counts()

    def describe(self, state: RunState) -> RunState:
        """Return the state of the run for its file; another thread calls it."""
        return state.model_copy(
            update={
                "workers": self._left.workers,
                "cells": self._total,
                "done": self._done,
                "failed": self._failed,
                "elsewhere": self._found,
                "seconds_left": self._seconds_left(),
                "running": tuple(self._state_of(*each) for each in list(self._running.items())),
            }
        )

    def _state_of(self, key: str, running: tuple[Cell, Epoch | None]) -> CellProgress:
        cell, point = running
        title, epochs = printable(self._titles.of(cell)), cell.setting.recipe.epochs
        if point is None:
            return CellProgress(key=key, title=title, epochs=epochs)
        return CellProgress(
            key=key, title=title, epochs=epochs, epoch=point.epoch, test_top1=round(point.test_top1, 4)
        )

    def print_end(self) -> None:
        """Print the slowest cells and all failures, each as the command that shows its record."""
        failures = [*self._failures, *((key_of(cell), self._titles.of(cell)) for cell in self._plan.failed)]
        if self._ok > PRINTED_SLOWEST:
            slowest = [(key, f"{title}: {clock(seconds)}") for seconds, key, title in self._slowest]
            self._print_commands("slowest cells:", slowest)
        if failures:
            self._print_commands("more about each failure:", failures[:PRINTED_COMMANDS])
        if len(failures) > PRINTED_COMMANDS:
            hidden = len(failures) - PRINTED_COMMANDS
            self._print(f"  and {hidden} more; `synflow-bench results list` lists all records")

    def _print_commands(self, heading: str, commands: Sequence[tuple[str, str]]) -> None:
        self._print(heading)
        for key, text in commands:
            command, comment = f"  {show_command(key, self._results)}", f"# {printable(text)}"
            if not self._console.is_terminal:
                self._print(f"{command}  {comment}")
                continue
            fits = cell_len(f"{command}  {comment}") <= self._console.width
            for line in [f"{command}  {comment}"] if fits else [command, f"    {comment}"]:
                self._console.print(line, soft_wrap=True, highlight=False, markup=False)

    def tick(self) -> None:
        """Print a line if there was none for a while."""
        if time.monotonic() - self._last_line >= LONGEST_SILENCE:
            self._print_counts()

    def _tick_in_silence(self) -> None:
        while not self._stopped.wait(max(0.0, self._last_line + LONGEST_SILENCE - time.monotonic())):
            self.tick()

    def _print_failure(self, record: Record, error: Failure) -> None:
        message = error.message if error.not_defined else str(error)
        self._messages[message] += 1
        if self._messages[message] > PRINTED_FAILURES:
            return
        place = f" ({error.raised_at})" if error.raised_at else ""
        parts = [f"{record.status}: {self._titles.of(record.cell)}: {message}{place}"]
        if error.traceback:
            parts.append(f"`{show_command(record.key, self._results)}` prints the traceback")
        if self._messages[message] == PRINTED_FAILURES:
            parts.append("more of the same are only counted")
        self._print(printable("; ".join(parts)), "red")

    def _print_warning(self, record: Record, line: str) -> None:
        pruner = record.cell.pruner.label
        self._messages[f"{pruner}: {line}"] += 1
        if self._messages[f"{pruner}: {line}"] == 1:  # the same masks have the same cause at every seed
            text = f"warning: {self._titles.of(record.cell)}: {line}; more of the same are not printed"
            self._print(printable(text), "yellow")

    def _print_counts(self) -> None:
        self._last_line = time.monotonic()
        running = [f"{len(self._running)} running"] if self._running else []
        counts = [f"{self._done}/{self._total} cells", f"{self._failed} failed", *running]
        self._print(", ".join(filter(None, [*counts, self._time()])))

    def _print(self, line: str, style: str = "") -> None:
        """Print a line: in lines as wide as a terminal, in one line anywhere else."""
        self._console.print(Text(line, style), soft_wrap=not self._console.is_terminal)

    def _time(self) -> str:
        now = time.monotonic()
        if self._done == self._total:
            return f"took {clock(now - self._started)}"
        if not self._done and not self._running:
            return "starting"
        left = self._seconds_left()
        return "" if left is None else f"about {clock(left)} left"

    def _seconds_left(self) -> float | None:
        left = self._left.seconds(time.monotonic())
        if left is None or not self._done:
            return left
        return max(0.0, left) * (self._done - self._found) / self._done  # others do their share

    def _render(self) -> Group:
        self._bar.update(self._task, completed=self._done, description=self._time())
        failed = [Text(f"{self._failed} failed", "red")] if self._failed else []
        running, workers = len(self._running), self._left.workers
        line = f"  {running} running on {count(workers, 'worker')}: a batch is trained and ends together"
        batched = [Text(line, "dim")] if running > workers else []
        return Group(self._bar, *batched, *([self._table()] if running else []), *failed)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for keeps_its_width in (False, True, True):
            table.add_column(no_wrap=keeps_its_width)
        for cell, epoch in list(self._running.values()):
            title = Text(f"  {self._titles.of(cell)}", overflow="ellipsis", no_wrap=True)
            state = f"epoch {epoch.epoch}/{cell.setting.recipe.epochs}" if epoch else "started"
            table.add_row(title, state, f"test {epoch.test_top1:.1%}" if epoch else "", style="dim")
        return table


class TimeLeft:
    """An estimate of the time that the unfinished cells of a run take.

    A record says how many seconds of a worker its cell took; in batched training, its share. The estimate is
    their mean over a setting, times the work left in it, divided by the number of workers. Neither the time
    that workers take to start nor cells that end together distort it. Before the first record, the speed is
    that of the epochs since the first one.

    Args:
        cells: The cells of the run.
    """

    def __init__(self, cells: Sequence[Cell]) -> None:
        self.workers = 1
        self._unfinished = Counter(cell.setting.digest for cell in cells)
        self._seconds: dict[str, list[float]] = {}
        self._running: dict[str, _RunningCell] = {}
        self._first_epoch: float | None = None

    def epoch_finished(self, cell: Cell, epoch: Epoch, now: float) -> None:
        """Count the part of a cell that is done at `now`, in seconds."""
        self._first_epoch = now if self._first_epoch is None else self._first_epoch
        total, last = cell.setting.total_epochs, cell.setting.recipe.epochs
        key, done = key_of(cell), (total - last + epoch.epoch) / total if total else 0.0
        first = self._running[key].first if key in self._running else done
        self._running[key] = _RunningCell(cell.setting.digest, first, done)

    def cell_finished(self, record: Record) -> None:
        """Count a cell, and the time that it took unless it failed."""
        setting = record.cell.setting.digest
        self._unfinished[setting] -= 1
        self._running.pop(record.key, None)
        if record.timing:
            self._seconds.setdefault(setting, []).append(record.timing.total_seconds)

    def seconds(self, now: float) -> float | None:
        """Estimate the seconds left at `now`, or return None where nothing is known yet."""
        running = list(self._running.values())
        cells = self._unfinished.total()
        if self._seconds:
            means = {setting: fmean(seconds) for setting, seconds in list(self._seconds.items())}
            typical = fmean(means.values())
            left = sum(count * means.get(setting, typical) for setting, count in self._unfinished.items())
            left -= sum(part.done * means.get(part.setting, typical) for part in running)
            return left / max(1, min(self.workers, cells))
        gained = sum(part.done - part.first for part in running)
        if not gained or self._first_epoch is None:
            return None
        return (cells - sum(part.done for part in running)) * (now - self._first_epoch) / gained


@dataclass(frozen=True)
class _RunningCell:
    """The part of a running cell that is done, and the part that was done when its first epoch was reported.

    `setting` is the digest of its setting; the parts are between 0 and 1.
    """

    setting: str
    first: float
    done: float


def show_command(key: str, results: Path) -> str:
    """Return the command that shows a record.

    Example:
        >>> show_command("0123456789ab", Path("my results"))
        "synflow-bench show 0123456789ab --results 'my results'"
        >>> show_command("0123456789ab", Path("results"))
        'synflow-bench show 0123456789ab'
    """
    command = ["synflow-bench", "show", key]
    if results != Path("results"):
        command += ["--results", str(results)]
    return shlex.join(command)
