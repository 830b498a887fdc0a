"""What loggers are told about a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunStarted:
    """A run of `cells` cells into the folder `results`, of which `recorded` need no work."""

    results: Path
    cells: int
    recorded: int


@dataclass(frozen=True)
class RunFinished(RunStarted):
    """The same run at its end: how many of the cells it worked on are `ok`, `failed` and `skipped`."""

    ok: int
    failed: int
    skipped: int
