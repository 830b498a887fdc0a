"""What `bench` found, for a reader or for a program."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import click

from synflow_bench.cli._bench import Measured, SuiteTime
from synflow_bench.cli._durations import clock
from synflow_bench.cli._tables import print_table
from synflow_bench.speed import Speed

DAY = 86_400


@dataclass(frozen=True)
class Report:
    """Two tables: networks and suites."""

    measured: Measured

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        found = self.measured
        return {
            "machine": found.machine.model_dump(),
            "networks": [speed.model_dump(mode="json") for speed in found.speeds],
            "suites": [asdict(suite) for suite in found.suites],
            "workers": found.workers,
            "kept": None if found.kept is None else str(found.kept),
        }

    def show(self) -> None:
        """Print it."""
        found, machine = self.measured, self.measured.machine
        threads = f"{machine.threads} thread{'s' * (machine.threads != 1)}"
        click.echo(f"{machine.device}, torch {machine.torch}, one worker with {threads}\n")
        pruners = list(dict.fromkeys(label for speed in found.speeds for label in speed.pruning))
        header = [
            "network",
            "form",
            "batch",
            "train/s",
            "one by one",
            "evaluate/s",
            *(f"{p}, s" for p in pruners),
            "MiB",
        ]
        print_table(header, [_network(speed, pruners) for speed in found.speeds])
        click.echo(f"\nall of a suite, with {found.workers} worker{'s' * (found.workers != 1)}:")
        print_table(["suite", "cells", "time"], [list(_suite(suite)) for suite in found.suites])
        click.echo(
            f"\nkept in {found.kept}; `run --dry-run` estimates from it" if found.kept else "\nnot kept"
        )


def report(measured: Measured) -> Report:
    """The report of what was measured."""
    return Report(measured)


def _network(speed: Speed, pruners: list[str]) -> list[str]:
    work = speed.workload
    form = f"{'x'.join(map(str, work.input_shape))}, {work.num_classes} classes"
    seconds = [_short(speed.pruning[each]) if each in speed.pruning else "" for each in pruners]
    rates = (speed.best_training, speed.training[1], speed.evaluation)
    memory = f"{speed.memory_bytes / 2**20:,.0f}"
    return [work.model.name, form, str(work.batch_size), *map(_rate, rates), *seconds, memory]


def _suite(suite: SuiteTime) -> Iterator[str]:
    yield suite.name
    yield f"{suite.cells:,}"
    missing = "" if suite.known == suite.cells else f" for {suite.known:,} cells; the others are not measured"
    yield f"{_long(suite.seconds)}{missing}" if suite.known else "not measured"


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _short(seconds: float) -> str:
    return f"{seconds:.2f}" if seconds < 10 else f"{seconds:,.0f}"


def _long(seconds: float) -> str:
    return clock(seconds) if seconds < 2 * DAY else f"{seconds / DAY:,.0f} days"
