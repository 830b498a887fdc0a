"""The forecast of a run: the status of each cell, and the expected time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from synflow_bench.execution import ExecutorFactory, Plan, Resources, TimeEstimate, estimate
from synflow_bench.progress import clock
from synflow_bench.records import Store, key_of


@dataclass(frozen=True)
class Forecast:
    """The cells of a run, and the time that they are expected to take.

    Attributes:
        plan: The cells, recorded and missing.
        estimates: One estimate per setting with missing cells.
        workers: The number of workers.
    """

    plan: Plan
    estimates: Sequence[TimeEstimate]
    workers: int

    @property
    def seconds(self) -> float | None:
        """The seconds of the whole run, or None if those of a setting are unknown."""
        parts = [each.cells * each.seconds for each in self.estimates if each.seconds is not None]
        busy = min(self.workers, max(1, len(self.plan.missing)))
        return sum(parts) / busy if len(parts) == len(self.estimates) else None

    def show(self, as_json: bool) -> None:
        """Print the forecast as text or as JSON."""
        if as_json:
            click.echo(json.dumps(self._as_json(), indent=1))
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
        return {"cells": cells, "estimates": estimates, "workers": self.workers, "seconds": self.seconds}

    def _print(self) -> None:
        for key, status, title in _rows(self.plan):
            click.echo(f"{key}  {status:8}  {title}")
        for each in self.estimates:
            click.echo(_sentence(each))
        click.echo(f"{_counts(self.plan)}{self._time()}")

    def _time(self) -> str:
        if not self.estimates:
            return ""
        workers = f"with {self.workers} worker{'s' * (self.workers != 1)}"
        known = "for an unknown time" if self.seconds is None else f"for about {clock(self.seconds)}"
        return f"; to run {known} {workers}"


def forecast(plan: Plan, store: Store, factory: ExecutorFactory, resources: Resources) -> Forecast:
    """Estimate the time of the missing cells of a run.

    Args:
        plan: The cells.
        store: The results folder, with earlier cells.
        factory: The executor; it decides on the number of workers.
        resources: The device, the threads and the data folder.

    Raises:
        UsageError: If the executor cannot use the resources.
    """
    executor = factory(resources, lambda _cell, _epoch: None)
    executor.close()
    workers, max_batched = executor.workers, getattr(executor, "max_batched", 1)
    estimates = estimate(plan, store, resources, workers=workers, max_batched=max_batched)
    return Forecast(plan, estimates, workers)


def _rows(plan: Plan) -> list[tuple[str, str, str]]:
    """Return the key, status and title of every cell; one with status `ok` or `failed` is recorded."""
    lists = {"ok": plan.recorded, "failed": plan.failed, "skipped": plan.skipped}
    states = {key_of(cell): status for status, cells in lists.items() for cell in cells}
    keyed = ((key_of(cell), cell.title) for cell in plan.cells)
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
