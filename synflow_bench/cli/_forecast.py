"""What a run would do, and how long it would take."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from synflow_bench.cli._durations import clock
from synflow_bench.execution import Crew, Estimate, ExecutorFactory, Plan, Resources, estimate
from synflow_bench.records import Store, key_of


@dataclass(frozen=True)
class Forecast:
    """A plan, and the time of its missing cells with `workers` at a time."""

    plan: Plan
    estimates: Sequence[Estimate]
    workers: int

    @property
    def seconds(self) -> float | None:
        """Of the whole run; None where a setting's are unknown."""
        parts = [each.cells * each.seconds for each in self.estimates if each.seconds is not None]
        return sum(parts) / self.workers if len(parts) == len(self.estimates) else None

    def show(self, as_json: bool) -> None:
        """Print it, for a reader or for a program."""
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
    """The forecast of `plan` on an executor of `factory`, which says how many cells run at a time."""
    executor = factory(resources, lambda _cell, _epoch: None)
    executor.close()
    crew = Crew(executor.workers, getattr(executor, "most_together", 1))
    return Forecast(plan, estimate(plan, store, resources, crew), executor.workers)


def _rows(plan: Plan) -> list[tuple[str, str, str]]:
    """Key, status and title of every cell; those that are `ok` or `failed` are recorded."""
    lists = {"ok": plan.recorded, "failed": plan.failed, "skipped": plan.skipped}
    states = {key_of(cell): status for status, cells in lists.items() for cell in cells}
    keyed = ((key_of(cell), cell.title) for cell in plan.cells)
    return [(key, states.get(key, "to run"), title) for key, title in keyed]


def _counts(plan: Plan) -> str:
    recorded = len(plan.recorded) + len(plan.failed)
    counts = f"{recorded} recorded, {len(plan.missing)} to run, {len(plan.skipped)} skipped"
    return f"{len(plan.cells)} cells: {counts}"


def _sentence(estimate: Estimate) -> str:
    title = f"{estimate.setting.title} ({estimate.setting.id})"
    if estimate.seconds is None:
        return f"{title}: time unknown, {estimate.source}"
    seconds = f"{estimate.seconds:.2f} s" if estimate.seconds < 10 else clock(estimate.seconds)
    return f"{title}: about {seconds} a cell, {estimate.source}"
