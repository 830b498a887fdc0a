"""What it takes to run cells somewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from synflow_bench.errors import HandledError
from synflow_bench.host import PluginFile
from synflow_bench.records import Epoch, Record
from synflow_bench.suites import Cell

OnEpoch = Callable[[Cell, Epoch], None]


class ExecutorError(HandledError):
    """An executor that cannot go on; what had finished is recorded."""

    exit_code = 1


@dataclass(frozen=True)
class Resources:
    """How much of the machine a run may use; `workers` of zero is as many as the machine has room for.

    `plugins` are the files that every process which runs cells must take along.
    """

    data_root: Path
    device: str = "auto"
    workers: int = 0
    threads: int = 1
    plugins: tuple[PluginFile, ...] = ()


class Executor(Protocol):
    """Runs cells. Made by a factory `(resources, on_epoch) -> Executor`; `on_epoch` hears of every epoch."""

    @property
    def workers(self) -> int:
        """How many cells run at a time."""

    def submit(self, cell: Cell) -> None:
        """Take a cell to run; returns at once."""

    def finished(self) -> Iterator[Record]:
        """Yield the record of every submitted cell as it ends, in any order; ends when none is left.

        Raises `ExecutorError` when no cell can be run any more.
        """

    def close(self) -> None:
        """Stop what runs and free what is held. May be called twice."""


ExecutorFactory = Callable[[Resources, OnEpoch], Executor]
