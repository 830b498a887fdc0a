"""`synflow-bench status`: the runs of a results folder, from another terminal or another machine."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from synflow_bench.cli.options import json_option, results_option
from synflow_bench.cli.output import print_json, print_table, warn
from synflow_bench.errors import RecordError, printable
from synflow_bench.records import Store
from synflow_bench.runs import Runs, RunState, clock, file_system_time


@click.command("status")
@results_option
@json_option("Print the runs, their running cells and the numbers of records as JSON.")
def command(results: Path, as_json: bool) -> int:
    """Show the runs of a results folder, and how far they are.

    A run on this machine is looked up by its process; one on another machine is taken to be lost when it has
    given no sign for five minutes.

    Exit code 0: no run is lost; 1: a run is lost, or a record or the file of a run cannot be read.
    """
    if not results.is_dir():
        raise RecordError(f"no results folder {str(results)!r}; `synflow-bench run` makes one")
    status = FolderStatus.read(results)
    if as_json:
        print_json(status.as_json())
    else:
        _print(status)
    return warn(status.unreadable) or int(bool(status.lost or status.records["unreadable"]))


@dataclass(frozen=True)
class FolderStatus:
    """The state of a results folder.

    Attributes:
        results: The folder.
        alive: The runs that work on it.
        lost: The runs that have ended without a word, or have given no sign for a while.
        records: The number of records by status; `unreadable` for those that are no valid ones.
        unreadable: One line for each file of a run that is not valid.
    """

    results: Path
    alive: list[RunState]
    lost: list[RunState]
    records: Counter[str]
    unreadable: list[str]

    @classmethod
    def read(cls, results: Path) -> FolderStatus:
        """Read the state of a folder; nothing is changed.

        Raises:
            RecordError: The folder cannot be read.
        """
        runs = Runs(results, watched=0)
        unreadable: list[str] = []
        states = runs.states(unreadable)
        now = file_system_time(runs.folder) if states else 0.0
        alive = [state for state in states if runs.is_alive(state.run, now)]
        lost = [state for state in states if state not in alive]
        return cls(results, alive, lost, _count(results), unreadable)

    def as_json(self) -> dict[str, Any]:
        """Return the state as plain JSON values."""
        runs = [
            {**state.model_dump(mode="json"), "cells_per_hour": state.cells_per_hour, "lost": is_lost}
            for states, is_lost in ((self.alive, False), (self.lost, True))
            for state in states
        ]
        return {**asdict(self), "results": str(self.results), "records": dict(self.records), "runs": runs} | {
            "alive": len(self.alive),
            "lost": len(self.lost),
        }


def _count(results: Path) -> Counter[str]:
    unreadable: list[str] = []
    counts = Counter[str](result.status for result in Store(results).results(unreadable))
    counts["unreadable"] = len(unreadable)
    return counts


def _print(status: FolderStatus) -> None:
    counts = [f"{count} {name}" for name, count in status.records.items() if count]
    click.echo(f"records in {str(status.results)!r}: {', '.join(counts) or 'none'}")
    if not status.alive:
        click.echo("no run is active")
    else:
        rows = [_row(state) for state in status.alive]
        header = ("machine", "process", "running", "done", "failed", "elsewhere", "cells/h", "time left")
        print_table(header, rows)
    cells = [(state, cell) for state in status.alive for cell in state.running]
    if cells:
        click.echo("")
        rows = [
            (
                printable(state.host),
                printable(cell.title),
                f"{cell.epoch}/{cell.epochs}",
                "" if cell.test_top1 is None else f"{cell.test_top1:.1%}",
                cell.key,
            )
            for state, cell in cells
        ]
        print_table(("machine", "cell", "epoch", "test", "key"), rows)
    for state in status.lost:
        seen = _age(state)
        click.echo(f"lost: {printable(state.title)}, last seen {seen} ago; other runs take over its cells")


def _row(state: RunState) -> tuple[str, ...]:
    rate, left = state.cells_per_hour, state.seconds_left
    return (
        printable(state.host),
        str(state.pid),
        f"{len(state.running)} on {state.workers}",
        f"{state.done}/{state.cells}",
        str(state.failed),
        str(state.elsewhere),
        "" if rate is None else f"{rate:.3g}" if rate < 100 else f"{rate:.0f}",
        "" if left is None else clock(left),
    )


def _age(state: RunState) -> str:
    return clock((datetime.now(UTC) - state.updated).total_seconds())
