"""Executors: the interface, the serial one, and the run of a plan on any of them."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import torch

from synflow_bench.errors import HandledError, UsageError
from synflow_bench.execution.claims import CellClaims, SharedCells, shared_cells
from synflow_bench.execution.containment import contained
from synflow_bench.execution.gpus import trains_alone
from synflow_bench.execution.origin import FIRST_PARTY_ORIGIN, origin_of
from synflow_bench.execution.plan import Plan
from synflow_bench.host import Host, PluginClass, PluginFile
from synflow_bench.limits import Limits
from synflow_bench.process import ProcessState, SharedCode
from synflow_bench.protocols import (
    Checkpoints,
    KeepFiles,
    OnCellEpoch,
    StopRequest,
    WorkerContext,
    run_cell,
)
from synflow_bench.records import Kind, Record, Store
from synflow_bench.runs import Runs
from synflow_bench.signals import SignalInterrupt
from synflow_bench.suites import Cell
from synflow_bench.training import process_restored, resolve_devices, set_up_process, usable_cores

OnRecord = Callable[[Record], None]

STOP_SECONDS = 20.0
"""The seconds in which running cells may write their checkpoints after a signal such as SIGTERM.

Batch systems kill a job 30 seconds after it, or later."""

CTRL_C_SECONDS = 5.0
"""The same after Ctrl-C; a second Ctrl-C ends the run at once."""

POLL = 1.0
"""The seconds between two looks at the cells that other runs compute."""


class ExecutorError(HandledError):
    """An executor that cannot continue; the cells that have finished are recorded."""

    exit_code = 1


class DetachedError(ExecutorError):
    """The cells run on without this process, as the user has asked; the message says where."""

    exit_code = 0


@dataclass(frozen=True)
class Resources:
    """The part of the machine that a run may use.

    Attributes:
        data_root: The data folder.
        device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.
        workers: The number of workers; 0 for as many as the machine has room for.
        threads: The number of threads per worker.
        plugins: The plugins that are not installed, for every process that runs cells.
        checkpoints: The checkpoints of running cells; None if they are not saved.
        limits: The limits of worker processes.
        results: The results folder, for executors whose workers write records themselves.
        options: Further options of the executor, whose class names those that it has in `options`.
        keep: What the workers write to the results folder for every cell that succeeds.
    """

    data_root: Path
    device: str = "auto"
    workers: int = 0
    threads: int = 1
    plugins: tuple[PluginFile | PluginClass, ...] = ()
    checkpoints: Checkpoints | None = None
    limits: Limits = field(default_factory=Limits)
    results: Path | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    keep: tuple[Kind, ...] = ()

    def room(self, devices: Sequence[str]) -> int:
        """Return the number of workers that the machine has room for on its devices."""
        return max(1, usable_cores() // self.threads) if devices == ["cpu"] else len(devices)


class Executor(Protocol):
    """Runs cells. A factory `(resources, on_epoch) -> Executor` makes it.

    The factory is what a plugin registers. It raises `UsageError` or `DeviceError` for resources that cannot
    be used. `on_epoch` is called with a cell and a point of its curve, in the thread that iterates
    `finished`. An executor may also have two more methods. `time_start() -> float` starts a worker and
    returns the seconds until it is ready, which a dry run adds to its estimate. `stop(seconds) ->
    Iterator[Record]` is called after an interrupt: it lets running cells write their checkpoints, and yields
    the records of those that finish.
    """

    max_batched: int = 1
    """The most networks that a worker trains in one batch; an executor without it trains one at a time."""
    claims: CellClaims
    """Set by `run_plan`, and asked before a worker starts a cell: one that cannot be taken is left out,
    because another run computes it. An executor without this attribute gets cells that are taken already."""

    @property
    def workers(self) -> int:
        """The number of workers."""

    def submit(self, cell: Cell) -> None:
        """Queue a cell and return at once."""

    def finished(self) -> Iterator[Record]:
        """Yield the record of every submitted cell as it ends, in any order, until none is left.

        Cells may be submitted meanwhile, and after that; then it is called again.

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
        ok: The number of cells that this run has recorded for good.
        failed: The number of cells that are failed now.
        recorded: The number of cells that needed no work.
        skipped: The number of cells whose dataset is missing.
        interrupted: True if the user stopped the run.
        stopped: The reason why the run could not continue; after an interrupt, the signal.
        not_defined: The number of those in `ok` whose method is not defined for their network.
        elsewhere: The number of cells that other runs have recorded meanwhile, and that are ok.
        detached: Where the missing cells run on, if this run does not wait for them.
    """

    ok: int
    failed: int
    recorded: int
    skipped: int
    interrupted: bool = False
    stopped: str | None = None
    not_defined: int = 0
    elsewhere: int = 0
    detached: str | None = None

    @property
    def exit_code(self) -> int:
        """0 all cells ok, recorded before or left to jobs, 1 some failed or not run, 130 interrupted."""
        if self.interrupted:
            return 130
        return 1 if self.failed or self.skipped or self.stopped else 0


def run_plan(
    plan: Plan,
    store: Store,
    executor: Executor,
    on_record: OnRecord = lambda _: None,
    shared: SharedCells | None = None,
    *,
    max_failures: int | None = None,
) -> Summary:
    """Run the missing cells of `plan` and close the executor.

    Other runs may share the results folder: each cell is computed by one of them, and this one waits for
    those of the others at the end. Invalid record files are moved below `replaced/`. An interrupt or an
    `ExecutorError` ends the run; the cells that have finished stay recorded.

    Args:
        on_record: Called with every record, after it is on disk.
        shared: The claims of the run; by default it makes its own.
        max_failures: The number of failed cells, recorded by this run or meanwhile by others, that end it;
            None for any number.

    Raises:
        RecordError: A record cannot be written.
    """
    ended, elsewhere = Counter[str](), Counter[str]()
    interrupted, stopped, detached = False, None, None
    checkpoints = Checkpoints.of(store.root)

    def count(record: Record, counts: Counter[str], report: OnRecord) -> None:
        counts[record.outcome] += 1
        report(record)
        if record.status == "ok":
            checkpoints.discard(record.key)

    with ExitStack() as cleanup:
        cleanup.callback(executor.close)
        if not plan.missing:
            Runs(store.root).remove_ended()
        elif shared is None:
            shared, _ = cleanup.enter_context(shared_cells(store, forced=plan.forced))
            cleanup.callback(executor.close)  # before the cells are released
        try:
            if shared is not None:
                for record, is_own in _records(plan.missing, executor, shared):
                    if is_own:
                        count(record, ended, on_record)
                    else:
                        count(record, elsewhere, shared.on_found)
                    failed = ended["failed"] + elsewhere["failed"]
                    if max_failures is not None and failed >= max_failures:
                        stopped = f"{failed} cells failed, as many as --max-failures allows"
                        break
        except KeyboardInterrupt as error:
            is_signal = isinstance(error, SignalInterrupt)
            interrupted, stopped = True, str(error) if is_signal else None
            for record in _last_records(executor, shared, STOP_SECONDS if is_signal else CTRL_C_SECONDS):
                count(record, ended, on_record)
        except DetachedError as error:
            detached = str(error)
        except ExecutorError as error:
            stopped = str(error)
    return Summary(
        ok=ended["ok"] + ended["not defined"],
        failed=ended["failed"] + elsewhere["failed"] + len(plan.failed),
        recorded=len(plan.recorded),
        skipped=ended["skipped"] + len(plan.skipped),
        interrupted=interrupted,
        stopped=stopped,
        not_defined=ended["not defined"],
        elsewhere=elsewhere["ok"] + elsewhere["not defined"],
        detached=detached,
    )


def _records(cells: Sequence[Cell], executor: Executor, shared: SharedCells) -> Iterator[tuple[Record, bool]]:
    """Yield the record of every cell once it is on disk, and True if this run has computed it."""
    asks = hasattr(executor, "claims")
    if asks:
        executor.claims = shared
    while True:
        for cell in cells:
            if asks or shared.take(cell):
                executor.submit(cell)
        for record in executor.finished():
            if shared.keep(record):
                yield record, True
            yield from ((found, False) for found in shared.found())
        yield from ((found, False) for found in shared.found())
        while not (cells := shared.left_by_others()):
            if not shared.waiting:
                return
            time.sleep(POLL)
            yield from ((found, False) for found in shared.found())


def _last_records(executor: Executor, shared: SharedCells | None, seconds: float) -> Iterator[Record]:
    """Stop the running cells, and yield the records of those that finish meanwhile."""
    stop: Callable[[float], Iterator[Record]] | None = getattr(executor, "stop", None)
    with suppress(KeyboardInterrupt, ExecutorError):
        for record in stop(seconds) if stop and shared else ():
            if shared and shared.keep(record):
                yield record


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
        if resources.limits.need_workers:
            raise UsageError(
                "executor 'serial' runs cells in the process of the run, which cannot end one; leave out "
                "--cell-timeout, --memory-limit and --recycle-after, or take executor 'local'"
            )
        self._device = str(resolve_devices(resources.device)[0])
        self._resources = resources
        self._on_epoch = on_epoch
        self._queue: deque[Cell] = deque()
        self._cleanup = ExitStack()
        self.claims = CellClaims()

    def submit(self, cell: Cell) -> None:
        """Queue a cell."""
        self._queue.append(cell)

    def finished(self) -> Iterator[Record]:
        """Run the queued cells and yield their records."""
        if not self._queue:
            return
        self._cleanup.enter_context(process_restored())
        context = make_context(self._resources, self._device)
        state, code = ProcessState(), SharedCode()
        while self._queue:
            cell = self._queue.popleft()
            if self.claims.take(cell):
                record = run_cell(cell, context, partial(self._on_epoch, cell))
                foreign = origin_of(cell, context.host) != FIRST_PARTY_ORIGIN
                yield from contained([record], context, code.restore() if foreign else ())
                state.restore()

    def close(self) -> None:
        """Clear the queue, and restore the settings of this process."""
        self._queue.clear()
        self._cleanup.close()


def make_context(
    resources: Resources,
    device: str,
    *,
    only: Collection[str] | None = None,
    stop: StopRequest | None = None,
) -> WorkerContext:
    """Set this process up to run cells on `device`, with the installed plugins and those of `resources`.

    Plugins that do not load are not reported again here: the process that made the plan has done so.

    Args:
        only: The distributions of third parties whose plugins are loaded; by default all.
        stop: The request on which running cells end.
    """
    host = Host.load(report=lambda _: None, files=resources.plugins, only=only)
    set_up_process(torch.device(device), resources.threads)
    return WorkerContext(
        host=host,
        data_root=resources.data_root,
        device=torch.device(device),
        threads=resources.threads,
        checkpoints=resources.checkpoints,
        on_outcome=KeepFiles.of(resources.results, resources.keep),
        stop=stop or StopRequest(),
        alone=trains_alone(resources.options, device),
    )
