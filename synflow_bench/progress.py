"""A run as its user sees it: progress, failures, loggers and signals."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from types import FrameType
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from synflow_bench.execution import ExecutorFactory, Plan, Resources, Summary, run_plan
from synflow_bench.host import Host, RunFinished, RunStarted
from synflow_bench.records import Epoch, Failure, Record, Store, key_of
from synflow_bench.suites import Cell

LINE_INTERVAL = 10.0
"""The least seconds between plain lines while cells finish."""

LONGEST_SILENCE = 60.0
"""The seconds after which a plain line is printed even if no cell has finished."""

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
) -> Summary:
    """Run the missing cells of `plan` on an executor of `factory`, and report to the user and to loggers.

    Args:
        plan: The recorded and the missing cells.
        store: The results folder, for new records.
        host: The plugins, whose loggers are called.
        factory: The executor to make.
        resources: The data folder, the device, the workers and their threads.
        show: Show progress and failures on stderr. Loggers are called in either case.

    Returns:
        The counts of cells, and whether the run ended early.

    Raises:
        UsageError: If the executor cannot use the resources.
        DeviceError: If the device is not on this machine.
        RecordError: If a record cannot be written.
    """
    progress = Progress(plan, store.root, sys.stderr, show=show)

    def epoch_finished(cell: Cell, epoch: Epoch) -> None:
        progress.epoch_finished(cell, epoch)
        host.epoch_finished(cell, epoch)

    def cell_finished(record: Record) -> None:
        progress.cell_finished(record)
        host.cell_finished(record)

    executor = factory(resources, epoch_finished)
    known = len(plan.recorded) + len(plan.failed)
    host.run_started(RunStarted(store.root, len(plan.cells), known))
    with progress.shown(executor.workers), _terminate_as_interrupt():
        summary = run_plan(plan, store, executor, cell_finished)
    ended = (summary.ok, summary.failed, summary.skipped)
    host.run_finished(RunFinished(store.root, len(plan.cells), known, *ended))
    return summary


@contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """Treat SIGTERM, with which batch systems end a job, like Ctrl-C: finished cells are kept."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set signal handlers
        return

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Progress:
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
        self._total, self._done, self._failed = len(plan.missing), 0, 0
        self._left = TimeLeft(plan.missing)
        self._started = self._last_line = time.monotonic()
        self._stopped = threading.Event()
        self._messages = Counter[str]()
        self._running: dict[str, tuple[Cell, Epoch]] = {}
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
        if not self._total or self._console.quiet:
            yield
        elif self._console.is_terminal:
            with self._live:
                yield
        else:
            before = f"{len(self._plan.recorded) + len(self._plan.failed)} recorded before"
            self._print(f"run: {_count(self._total, 'cell')}, {before}, {_count(workers, 'worker')}")
            threading.Thread(target=self._tick_in_silence, daemon=True).start()
            try:
                yield
            finally:
                self._stopped.set()

    def epoch_finished(self, cell: Cell, epoch: Epoch) -> None:
        """Show how far a running cell is."""
        self._left.epoch_finished(cell, epoch, time.monotonic())
        self._running[key_of(cell)] = cell, epoch

    def cell_finished(self, record: Record) -> None:
        """Count a cell, and print its failure if few had the same message."""
        self._done += 1
        self._left.cell_finished(record)
        self._running.pop(record.key, None)
        if record.error:
            self._failed += 1
            self._print_failure(record, record.error)
        for line in record.provenance.warnings:
            self._print_warning(record, line)
        since = time.monotonic() - self._last_line
        if not self._console.is_terminal and (since >= LINE_INTERVAL or self._done == self._total):
            self._print_counts()

    def tick(self) -> None:
        """Print a line if there was none for a while."""
        if time.monotonic() - self._last_line >= LONGEST_SILENCE:
            self._print_counts()

    def _tick_in_silence(self) -> None:
        while not self._stopped.wait(max(0.0, self._last_line + LONGEST_SILENCE - time.monotonic())):
            self.tick()

    def _print_failure(self, record: Record, error: Failure) -> None:
        message = str(error)
        self._messages[message] += 1
        if self._messages[message] > PRINTED_FAILURES:
            return
        place = f" ({error.raised_at})" if error.raised_at else ""
        parts = [f"{record.status}: {record.cell.title}: {message}{place}"]
        if error.traceback:
            parts.append(f"`{show_command(record.key, self._results)}` prints the traceback")
        if self._messages[message] == PRINTED_FAILURES:
            parts.append("more of the same are only counted")
        self._console.print(Text("; ".join(parts), "red"), soft_wrap=True)

    def _print_warning(self, record: Record, line: str) -> None:
        pruner = record.cell.pruner.label
        self._messages[f"{pruner}: {line}"] += 1
        if self._messages[f"{pruner}: {line}"] == 1:  # the same masks have the same cause at every seed
            text = f"warning: {record.cell.title}: {line}; more of the same are not printed"
            self._console.print(Text(text, "yellow"), soft_wrap=True)

    def _print_counts(self) -> None:
        self._last_line = time.monotonic()
        running = [f"{len(self._running)} running"] if self._running else []
        counts = [f"{self._done}/{self._total} cells", f"{self._failed} failed", *running]
        self._print(", ".join(filter(None, [*counts, self._time()])))

    def _print(self, line: str) -> None:
        self._console.print(line, soft_wrap=True, highlight=False, markup=False)

    def _time(self) -> str:
        now = time.monotonic()
        if self._done == self._total:
            return f"took {clock(now - self._started)}"
        if not self._done and not self._running:
            return "starting"
        left = self._left.seconds(now)
        return "" if left is None else f"about {clock(left)} left"

    def _render(self) -> Group:
        self._bar.update(self._task, completed=self._done, description=self._time())
        failed = [Text(f"{self._failed} failed", "red")] if self._failed else []
        return Group(self._bar, *([self._table()] if self._running else []), *failed)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for keeps_its_width in (False, True, True):
            table.add_column(no_wrap=keeps_its_width)
        for cell, epoch in list(self._running.values()):
            title = Text(f"  {cell.title}", overflow="ellipsis", no_wrap=True)
            state = f"epoch {epoch.epoch}/{cell.setting.recipe.epochs}"
            table.add_row(title, state, f"test {epoch.test_top1:.1%}", style="dim")
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


def clock(seconds: float) -> str:
    """Format seconds as minutes and seconds, or with hours.

    Example:
        >>> clock(7), clock(754), clock(3723)
        ('0:07', '12:34', '1:02:03')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
