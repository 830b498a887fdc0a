"""What a process that makes a profile is told, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from synflow_bench.host import PluginFile
from synflow_bench.suites import Cell


@dataclass(frozen=True)
class Task:
    """Cells of one setting, and where to run them."""

    cells: Sequence[Cell]
    data_root: Path
    device: str
    threads: int
    plugins: tuple[PluginFile, ...] = ()


@dataclass(frozen=True)
class Row:
    """Wall seconds of a stage without those of stages inside it, and how often it was entered."""

    stage: str
    seconds: float
    calls: int


@dataclass(frozen=True)
class Profile:
    """Where the time of `cells` cells went; `total` is from the start of the process to the last record."""

    title: str
    device: str
    torch: str
    engine: str
    cells: int
    rows: tuple[Row, ...]
    total: float

    @property
    def sum(self) -> float:
        """The seconds of all rows: what is missing to the total lies between the stages."""
        return sum(row.seconds for row in self.rows)

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {**asdict(self), "sum": self.sum}
