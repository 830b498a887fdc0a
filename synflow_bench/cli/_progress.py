"""How far a run is: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from synflow_bench.cli._durations import clock
from synflow_bench.execution import Plan
from synflow_bench.records import Epoch, Record, key_of
from synflow_bench.suites import Cell

LINES_EVERY = 10.0
"""Seconds between plain lines that only count."""

ALIKE = 3
"""How many failures of one message are told."""


class Progress:
    """Counts cells done, failed and left, shows the running ones, and the time left."""

    def __init__(self, plan: Plan, stream: TextIO) -> None:
        self._console = Console(file=stream)
        self._total, self._done, self._failed = len(plan.missing), 0, 0
        self._started = self._last_line = time.monotonic()
        self._first_heard: float | None = None
        self._told = Counter[str]()
        self._running: dict[str, tuple[Cell, Epoch]] = {}
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("cells"), TimeElapsedColumn())
        self._bar = Bar(*columns, TextColumn("{task.description}"), console=self._console)
        self._task = self._bar.add_task("", total=self._total)
        self._live = Live(
            get_renderable=self._render, console=self._console, refresh_per_second=4, transient=True
        )

    def __enter__(self) -> Self:
        if self._console.is_terminal and self._total:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def epoch_finished(self, cell: Cell, epoch: Epoch) -> None:
        """Show how far a running cell is."""
        self._first_heard = self._first_heard or time.monotonic()
        self._running[key_of(cell)] = cell, epoch

    def cell_finished(self, record: Record) -> None:
        """Count a cell; one that failed is told at once, unless others have failed alike."""
        self._done += 1
        self._running.pop(record.key, None)
        if record.error:
            self._failed += 1
            self._tell(record.status, record.cell.title, record.error.message)
        if not self._console.is_terminal:
            self._say_line()

    def _tell(self, status: str, title: str, message: str) -> None:
        self._told[message] += 1
        if self._told[message] <= ALIKE:
            more = "; more of the same are only counted" if self._told[message] == ALIKE else ""
            self._console.print(Text(f"{status}: {title}: {message}{more}", "red"), soft_wrap=True)

    def _say_line(self) -> None:
        now = time.monotonic()
        if now - self._last_line >= LINES_EVERY or self._done == self._total:
            self._last_line = now
            counts = f"{self._done}/{self._total} cells, {self._failed} failed"
            self._console.print(f"{counts}, {self._time()}", soft_wrap=True, highlight=False)

    def _time(self) -> str:
        now = time.monotonic()
        if self._done == self._total:
            return f"took {clock(now - self._started)}"
        if not self._done:
            return "" if self._first_heard else "starting"
        per_cell = (now - (self._first_heard or self._started)) / self._done  # workers take time to start
        return f"about {clock(per_cell * (self._total - self._done))} left"

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
