"""How a run ended: a leaderboard and a sentence, or JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from synflow_bench.errors import RecordError
from synflow_bench.execution import Plan, Summary
from synflow_bench.leaderboard import build_boards, print_boards
from synflow_bench.records import Record, Store, key_of


@dataclass(frozen=True)
class Outcome:
    """What is recorded of a plan's cells after a run; `unreadable` says which records cannot be read."""

    summary: Summary
    results: Path
    cells: Sequence[tuple[str, str]]
    records: dict[str, Record] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, plan: Plan, store: Store, summary: Summary) -> Outcome:
        """Read the records of the plan's cells."""
        outcome = cls(summary, store.root, [(key_of(cell), cell.title) for cell in plan.cells])
        for cell in plan.cells:
            try:
                record = store.get(cell)
            except RecordError as error:
                outcome.unreadable.append(str(error))
                continue
            if record:
                outcome.records[record.key] = record
        return outcome

    @property
    def exit_code(self) -> int:
        """That of the run, but never 0 when a record cannot be read."""
        return self.summary.exit_code or int(bool(self.unreadable))

    def show(self, as_json: bool) -> None:
        """Print the leaderboard of what was asked for, or JSON; how the run ended goes to stderr."""
        if as_json:
            click.echo(json.dumps(self._as_json(), indent=1))
        elif any(record.status == "ok" for record in self.records.values()):
            print_boards(build_boards(self.records.values()), Console())
        for line in self.unreadable:
            click.echo(f"warning: {line}", err=True)
        click.echo(f"{_end(self.summary)}; cells: {_counts(self.summary)}{self._where()}", err=True)

    def _where(self) -> str:
        return f"; records in {self.results}" if self.results.is_dir() else ""

    def _as_json(self) -> dict[str, Any]:
        cells = [self._row(key, title) for key, title in self.cells]
        return {**asdict(self.summary), "results": str(self.results), "cells": cells}

    def _row(self, key: str, title: str) -> dict[str, str | None]:
        record = self.records.get(key)
        error = record.error.message if record and record.error else None
        return {"key": key, "status": record.status if record else None, "cell": title, "error": error}


def _end(summary: Summary) -> str:
    if summary.interrupted:
        return "interrupted: what had finished is kept, run the same command to go on"
    if summary.stopped:
        return f"stopped: {summary.stopped}; what had finished is kept"
    return "done"


def _counts(summary: Summary) -> str:
    counted = {"failed": summary.failed, "skipped": summary.skipped}
    parts = [f"{summary.ok} run", f"{summary.recorded} recorded before"]
    return ", ".join(parts + [f"{count} {name}" for name, count in counted.items() if count])
