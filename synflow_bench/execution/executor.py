"""Executors: the interface, the serial one, and the run of a plan on any of them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import torch

from synflow_bench.errors import HandledError, UsageError
from synflow_bench.execution.plan import Plan
from synflow_bench.host import Host, PluginClass, PluginFile
from synflow_bench.protocols import OnCellEpoch, WorkerContext, run_cell
from synflow_bench.records import Record, Store
from synflow_bench.suites import Cell
from synflow_bench.training import process_restored, resolve_devices, set_up_process

OnRecord = Callable[[Record], None]


class ExecutorError(HandledError):
    """An executor that cannot continue; the cells that have finished are recorded."""

    exit_code = 1


@dataclass(frozen=True)
class Resources:
    """The part of the machine that a run may use.

    Attributes:
        data_root: The data folder.
        device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.
        workers: The number of workers; 0 for as many as the machine has room for.
        threads: The number of threads per worker.
        plugins: The plugins that are not installed, for every process that runs cells.
    """

    data_root: Path
    device: str = "auto"
    workers: int = 0
    threads: int = 1
    plugins: tuple[PluginFile | PluginClass, ...] = ()


class Executor(Protocol):
    """Runs cells. A factory `(resources, on_epoch) -> Executor` makes it.

    The factory is what a plugin registers. It raises `UsageError` or `DeviceError` for resources that cannot
    be used. `on_epoch` is called with a cell and a point of its curve, in the thread that iterates
    `finished`.
    """

    max_batched: int = 1
    """The most networks that a worker trains in one batch; an executor without it trains one at a time."""

    @property
    def workers(self) -> int:
        """The number of workers."""

    def submit(self, cell: Cell) -> None:
        """Queue a cell and return at once."""

    def finished(self) -> Iterator[Record]:
        """Yield the record of every submitted cell as it ends, in any order, until none is left.

        Cells may be submitted meanwhile.

        Raises:
            ExecutorError: No more cells can be run.
        """

    def close(self) -> None:
        """Stop running cells and release all resources; may be called twice."""


ExecutorFactory = Callable[[Resources, OnCellEpoch], Executor]


@dataclass(frozen=True)
class Summary:
    """The end of a run.

    Attributes:
        ok: The number of cells that this run has recorded.
        failed: The number of cells that are failed now.
        recorded: The number of cells that needed no work.
        skipped: The number of cells whose dataset is missing.
        interrupted: True if the user stopped the run.
        stopped: The reason why the run could not continue.
    """

    ok: int
    failed: int
    recorded: int
    skipped: int
    interrupted: bool = False
    stopped: str | None = None

    @property
    def exit_code(self) -> int:
        """0 all cells ok or already recorded, 1 some failed, skipped or not run, 130 interrupted."""
        if self.interrupted:
            return 130
        return 1 if self.failed or self.skipped or self.stopped else 0


def run_plan(plan: Plan, store: Store, executor: Executor, on_record: OnRecord = lambda _: None) -> Summary:
    """Run the missing cells of `plan` and close the executor.

    Invalid record files are first moved below `replaced/`. An interrupt or an `ExecutorError` ends the
    run; the cells that have finished stay recorded.

    Args:
        on_record: Called with every record, after it is on disk.

    Raises:
        RecordError: A record cannot be written.
    """
    ended = Counter[str]()
    interrupted, stopped = False, None
    try:
        for path in plan.unreadable:
            store.set_aside(path)
        for cell in plan.missing:
            executor.submit(cell)
        for record in executor.finished():
            store.put(record)
            ended[record.status] += 1
            on_record(record)
    except KeyboardInterrupt:
        interrupted = True
    except ExecutorError as error:
        stopped = str(error)
    finally:
        executor.close()
    return Summary(
        ok=ended["ok"],
        failed=ended["failed"] + len(plan.failed),
        recorded=len(plan.recorded),
        skipped=ended["skipped"] + len(plan.skipped),
        interrupted=interrupted,
        stopped=stopped,
    )


class SerialExecutor:
    """Runs one cell after another in this process: the executor for debugging.

    Raises:
        UsageError: More than one worker is requested.
        DeviceError: The device is not on this machine.
    """

    workers = 1
    max_batched = 1

    def __init__(self, resources: Resources, on_epoch: OnCellEpoch) -> None:
        if resources.workers > 1:
            raise UsageError(
                f"executor 'serial' runs one cell at a time; ask for 1 worker, not {resources.workers}"
            )
        self._device = str(resolve_devices(resources.device)[0])
        self._resources = resources
        self._on_epoch = on_epoch
        self._queue: deque[Cell] = deque()
        self._cleanup = ExitStack()

    def submit(self, cell: Cell) -> None:
        """Queue a cell."""
        self._queue.append(cell)

    def finished(self) -> Iterator[Record]:
        """Run the queued cells and yield their records."""
        if not self._queue:
            return
        self._cleanup.enter_context(process_restored())
        given = self._resources
        context = make_context(given.data_root, self._device, given.threads, given.plugins)
        while self._queue:
            cell = self._queue.popleft()
            yield run_cell(cell, context, partial(self._on_epoch, cell))

    def close(self) -> None:
        """Clear the queue, and restore the settings of this process."""
        self._queue.clear()
        self._cleanup.close()


def make_context(
    data_root: Path, device: str, threads: int, plugins: Sequence[PluginFile | PluginClass] = ()
) -> WorkerContext:
    """Set this process up to run cells, with the installed plugins and `plugins`.

    Plugins that do not load are not reported again here: the process that made the plan has done so.
    """
    host = Host.load(report=lambda _: None, files=plugins)
    set_up_process(torch.device(device), threads)
    return WorkerContext(host=host, data_root=data_root, device=torch.device(device), threads=threads)
