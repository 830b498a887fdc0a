"""The forecast of a run: the status of each cell, and the expected time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from synflow_bench.cli.output import print_json, print_line
from synflow_bench.errors import count
from synflow_bench.execution import ExecutorFactory, Plan, Resources, TimeEstimate, estimate
from synflow_bench.records import Store, key_of
from synflow_bench.runs import clock
from synflow_bench.suites import CellTitles


@dataclass(frozen=True)
class Forecast:
    """The cells of a run, and the time that they are expected to take.

    Attributes:
        plan: The cells, recorded and missing.
        estimates: One estimate per setting with missing cells.
        workers: The number of workers.
        start: The seconds until a worker is ready, which all workers take at the same time.
    """

    plan: Plan
    estimates: Sequence[TimeEstimate]
    workers: int
    start: float = 0.0

    @property
    def seconds(self) -> float | None:
        """The seconds of the whole run, or None if those of a setting are unknown."""
        parts = [each.cells * each.seconds for each in self.estimates if each.seconds is not None]
        busy = min(self.workers, max(1, len(self.plan.missing)))
        return self.start + sum(parts) / busy if len(parts) == len(self.estimates) else None

    def show(self, as_json: bool) -> None:
        """Print the forecast as text or as JSON."""
        if as_json:
            print_json(self._as_json())
        else:
            self._print()

    def _as_json(self) -> dict[str, Any]:
        cells = [{"key": key, "status": status, "cell": title} for key, status, title in _rows(self.plan)]
        estimates = [
            {
                "setting": each.setting.id,
                "title": each.setting.title,
                "cells": each.cells,
                "seconds_per_cell": each.seconds,
                "source": each.source,
            }
            for each in self.estimates
        ]
        total = {"workers": self.workers, "start_seconds": self.start, "seconds": self.seconds}
        return {**total, "estimates": estimates, "cells": cells}

    def _print(self) -> None:
        """Print what a reader asks first: the summary, then the settings, then the cells.

        The summary is printed once more below the cells, which may fill a terminal.
        """
        summary = f"{_counts(self.plan)}{self._time()}"
        print_line("", summary)
        for each in self.estimates:
            print_line("", _sentence(each))
        for key, status, title in _rows(self.plan):
            print_line(f"{key}  {status:8}  ", title)
        if self.plan.cells:
            print_line("", summary)

    def _time(self) -> str:
        if not self.estimates:
            return ""
        workers = f"with {count(self.workers, 'worker')}"
        if self.seconds is None:
            return f"; to run for an unknown time {workers}"
        start = f", {self.start:.0f} s of it their start" if self.start else ""
        return f"; to run for about {clock(self.seconds)} {workers}{start}"


def forecast(plan: Plan, store: Store, factory: ExecutorFactory, resources: Resources) -> Forecast:
    """Estimate the time of the missing cells of a run.

    Args:
        plan: The cells.
        store: The results folder, with earlier cells.
        factory: The executor; it decides on the number of workers.
        resources: The device, the threads and the data folder.

    Raises:
        UsageError: If the executor cannot use the resources.
        ExecutorError: If no worker can be started.
    """
    executor = factory(resources, lambda _cell, _epoch: None)
    try:
        workers, max_batched = executor.workers, getattr(executor, "max_batched", 1)
        time_start = getattr(executor, "time_start", None)
        start = time_start() if time_start and plan.missing else 0.0
    finally:
        executor.close()
    estimates = estimate(plan, store, resources, workers=workers, max_batched=max_batched)
    return Forecast(plan, estimates, workers, start)


def _rows(plan: Plan) -> list[tuple[str, str, str]]:
    """Return the key, status and title of every cell; one with status `ok` or `failed` is recorded."""
    lists = {"ok": plan.recorded, "failed": plan.failed, "skipped": plan.skipped}
    states = {key_of(cell): status for status, cells in lists.items() for cell in cells}
    titles = CellTitles(plan.cells)
    keyed = ((key_of(cell), titles.of(cell)) for cell in plan.cells)
    return [(key, states.get(key, "to run"), title) for key, title in keyed]


def _counts(plan: Plan) -> str:
    recorded = len(plan.recorded) + len(plan.failed)
    counts = f"{recorded} recorded, {len(plan.missing)} to run, {len(plan.skipped)} skipped"
    return f"{len(plan.cells)} cells: {counts}"


def _sentence(estimate: TimeEstimate) -> str:
    title = f"{estimate.setting.title} ({estimate.setting.id})"
    if estimate.seconds is None:
        return f"{title}: time {estimate.source}"
    seconds = f"{estimate.seconds:.2f} s" if estimate.seconds < 10 else clock(estimate.seconds)
    return f"{title}: about {seconds} per cell, {estimate.source}"
