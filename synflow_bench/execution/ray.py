"""The Ray executor: cells run on the nodes of a cluster, each in a local executor with one worker.

A worker keeps its data, is isolated and limited as on one machine, and streams its epochs and records back.
When a node is lost, its cells run elsewhere.
"""

from __future__ import annotations

import os
import platform
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from queue import SimpleQueue
from threading import Thread
from typing import Any, ClassVar

import torch

from synflow_bench.errors import HandledError, UsageError, one_line
from synflow_bench.execution.claims import CellClaims
from synflow_bench.execution.executor import ExecutorError, Resources
from synflow_bench.execution.local import LocalExecutor
from synflow_bench.execution.worker import EpochFinished
from synflow_bench.host import Host
from synflow_bench.limits import parse_bytes
from synflow_bench.protocols import OnCellEpoch, failed_record, provenance_of
from synflow_bench.records import Record, key_of
from synflow_bench.suites import Cell
from synflow_bench.training import most_batched

LOSSES = 3
"""The workers that may be lost with a cell before it fails; and in a row, per worker, before the run ends."""

PATIENCE = 120.0
"""The seconds without any node that has room for a worker, after which the run ends; clusters may grow."""

_PACKAGES = ("synflow-bench", "torch", "torchvision", "numpy", "scikit-learn")
_POLL = 1.0


class NodeLost(HandledError):  # noqa: N818  records name this kind
    """The nodes of a cluster were lost while they ran a cell."""


@dataclass(frozen=True)
class CellRequest:
    """What a cluster reserves for each worker.

    Attributes:
        cpus: The CPU cores; may be a fraction.
        gpus: The GPUs; 0.5 lets two workers share one.
        memory: The bytes of memory; None to reserve none.
    """

    cpus: float
    gpus: float
    memory: int | None = None

    @classmethod
    def of(cls, options: Mapping[str, str], *, cpus: float, gpus: float) -> CellRequest:
        """Read the options `cpus`, `gpus` and `memory`; the other arguments are defaults.

        Raises:
            UsageError: A value is no number of these.
        """
        memory = parse_bytes(options["memory"]) if "memory" in options else None
        return cls(_number(options, "cpus", cpus), _number(options, "gpus", gpus), memory)

    def fits(self, there: Mapping[str, float]) -> int:
        """Return the number of workers for which a node with these resources has room."""
        asked = {"CPU": self.cpus, "GPU": self.gpus, "memory": float(self.memory or 0)}
        return int(min((there.get(name, 0.0) + 1e-9) // amount for name, amount in asked.items() if amount))

    def __str__(self) -> str:
        memory = f" and {self.memory / 2**30:.3g} GiB of memory" if self.memory else ""
        return f"{self.cpus:g} CPUs, {self.gpus:g} GPUs{memory}"


def _number(options: Mapping[str, str], name: str, default: float) -> float:
    text = options.get(name)
    if text is None:
        return default
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    least = 0.0 if name == "gpus" else 1e-3
    if not least <= number <= 1e6:
        raise UsageError(f"{name}={text!r} cannot be reserved for a cell; give a number such as 1 or 0.5")
    return number


class NodeWorker:
    """The actor of a worker: a local executor with one worker, on whatever node Ray has chosen.

    Args:
        resources: The resources of the run, for one worker.
    """

    def __init__(self, resources: Resources) -> None:
        checkpoints = resources.checkpoints
        if checkpoints and not checkpoints.folder.parent.is_dir():  # the results folder is not shared
            resources = replace(resources, checkpoints=None)
        self._resources = resources
        self._messages: SimpleQueue[EpochFinished | Record | BaseException | None] = SimpleQueue()
        self._executor: LocalExecutor | None = None

    def facts(self) -> dict[str, str]:
        """Return the versions of the packages and plugins here."""
        found, results = versions(self._resources), self._resources.results
        if self._resources.keep and not (results and results.is_dir()):
            found["without"] = str(results)
        return found

    def run(self, cells: Sequence[Cell]) -> Iterator[EpochFinished | Record]:
        """Run cells of one setting; yield their epochs and records as they come."""
        if self._executor is None:
            self._executor = LocalExecutor(self._resources, self._report)
        Thread(target=self._work, args=(self._executor, cells), daemon=True).start()
        while (message := self._messages.get()) is not None:
            if isinstance(message, BaseException):
                raise message
            yield message

    def close(self) -> None:
        """End the worker process."""
        if self._executor is not None:
            self._executor.close()

    def _report(self, cell: Cell, epoch: Any) -> None:
        self._messages.put(EpochFinished(key_of(cell), epoch))

    def _work(self, executor: LocalExecutor, cells: Sequence[Cell]) -> None:
        try:
            for cell in cells:
                executor.submit(cell)
            for record in executor.finished():
                self._messages.put(record)
        except BaseException as error:  # the stream hands it on
            self._messages.put(error)
        else:
            self._messages.put(None)


class _Worker:
    """The driver's side of an actor: `cells` are those that it runs, `stream` their messages."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.starting: Any = handle.facts.remote()
        self.stream: Any = None
        self.cells: dict[str, Cell] = {}

    @property
    def waits_for(self) -> Any:
        """The reference that is ready when this worker has something to say."""
        return self.starting if self.starting is not None else self.stream


class RayExecutor:
    """Workers on the nodes of a Ray cluster: an existing one, or one that is started on this machine.

    Options: `address` of the cluster; `cpus`, `gpus` and `memory` that are reserved for each worker.

    Raises:
        UsageError: Ray is not installed, the cluster cannot be reached, or no node has what a worker needs.
    """

    options: ClassVar[frozenset[str]] = frozenset({"address", "cpus", "gpus", "memory"})

    def __init__(self, resources: Resources, on_epoch: OnCellEpoch) -> None:
        try:
            import ray
        except ImportError:
            raise UsageError(
                "executor 'ray' needs Ray; install it with `pip install 'synflow-bench[ray]'`"
            ) from None
        self._ray: Any = ray
        self._queue: deque[Cell] = deque()
        self._workers: list[_Worker] = []
        options = resources.options
        CellRequest.of(options, cpus=1, gpus=0)  # to refuse wrong values before a cluster is started
        self._is_mine = not ray.is_initialized()
        if self._is_mine:
            _connect(ray, options.get("address"))
        nodes = self._nodes()
        has_gpus = resources.device != "cpu" and any(node.get("GPU") for node in nodes)
        self._request = CellRequest.of(options, cpus=resources.threads, gpus=float(has_gpus))
        self.max_batched = most_batched("cuda" if has_gpus and self._request.gpus else "cpu")
        room = sum(map(self._request.fits, nodes))
        if not room:
            self.close()
            raise UsageError(f"no node of the Ray cluster has {self._request}, as each worker needs")
        self._wanted = resources.workers or room
        self._resources = _for_nodes(resources)
        self.expected = versions(resources)
        self._on_epoch = on_epoch
        self._lost_with = Counter[str]()
        self._losses = 0
        self._last_node = time.monotonic()
        self._batchable: dict[str, bool] = {}
        self.claims = CellClaims()

    @property
    def workers(self) -> int:
        """The number of workers."""
        return self._wanted

    def submit(self, cell: Cell) -> None:
        """Queue a cell; workers start with the first ones."""
        self._queue.append(cell)

    def finished(self) -> Iterator[Record]:
        """Keep every worker busy and yield records as they come.

        Raises:
            ExecutorError: A node has other versions, or no worker can be kept alive.
        """
        while True:
            while self._queue and len(self._workers) < min(self._wanted, len(self._queue) + self._busy):
                self._workers.append(self._start_worker())
            self._start_cells()
            if not self._queue and not self._busy:
                return
            waiting = {worker.waits_for: worker for worker in self._workers if worker.waits_for is not None}
            self._check_nodes()
            ready, _ = self._ray.wait(list(waiting), num_returns=1, timeout=_POLL, fetch_local=False)
            for reference in ready:
                record = self._receive(waiting[reference])
                if record is not None:
                    self._start_cells()
                    yield record

    def close(self) -> None:
        """Stop all workers, and the cluster if this run has started it."""
        for worker in self._workers:
            self._kill(worker)
        if self._is_mine and self._ray.is_initialized():
            self._ray.shutdown()
        self._workers.clear()
        self._queue.clear()

    def _kill(self, worker: _Worker) -> None:
        with suppress(Exception):  # it is gone already, or the cluster is
            self._ray.kill(worker.handle)

    @property
    def _busy(self) -> int:
        return sum(bool(worker.cells) for worker in self._workers)

    def _nodes(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _check_nodes(self) -> None:
        """Raise `ExecutorError` if there has been no node for a worker for a while."""
        if self._busy or any(map(self._request.fits, self._nodes())):
            self._last_node = time.monotonic()
        elif time.monotonic() - self._last_node > PATIENCE:
            raise ExecutorError(f"no node is left in the Ray cluster that has {self._request}")

    def _start_worker(self) -> _Worker:
        request = self._request
        passed = {name: value for name, value in os.environ.items() if name.startswith("SYNFLOW_BENCH_")}
        actor = self._ray.remote(NodeWorker).options(
            num_cpus=request.cpus,
            num_gpus=request.gpus,
            memory=request.memory,
            max_restarts=0,
            scheduling_strategy="SPREAD",
            runtime_env={"env_vars": passed} if passed else None,
        )
        return _Worker(actor.remote(self._resources))

    def _start_cells(self) -> None:
        for worker in self._workers:
            if worker.waits_for is None and (cells := self._next_batch()):
                worker.cells = {key_of(cell): cell for cell in cells}
                worker.stream = worker.handle.run.options(num_returns="streaming").remote(cells)

    def _next_batch(self) -> list[Cell]:
        """Take cells of one setting; several only if its records say that they train in one batch."""
        cells: list[Cell] = []
        share = min(self.max_batched, -(-len(self._queue) // self._wanted))
        while self._queue and (not cells or (len(cells) < share and self._may_join(cells))):
            cell = self._queue.popleft()
            if self.claims.take(cell):
                cells.append(cell)
        return cells

    def _may_join(self, cells: Sequence[Cell]) -> bool:
        setting = cells[0].setting
        alone = any(self._lost_with[key_of(cell)] for cell in (*cells, self._queue[0]))
        same = self._queue[0].setting == setting
        return same and not alone and self._batchable.get(setting.digest, False)

    def _receive(self, worker: _Worker) -> Record | None:
        """Read the next message of a worker; return the record, if it is one."""
        try:
            if worker.starting is not None:
                self._check_versions(self._ray.get(worker.starting))
                worker.starting = None
                return None
            message = self._ray.get(next(worker.stream))
        except StopIteration:
            worker.stream = None
            return self._lose(worker, "ended without a record") if worker.cells else None
        except self._ray.exceptions.RayError as error:
            return self._lose(worker, one_line(error, first_line=True))
        if isinstance(message, EpochFinished):
            self._on_epoch(worker.cells[message.key], message.epoch)
            return None
        record: Record = message
        cell = worker.cells.pop(record.key)
        self._batchable.setdefault(cell.setting.digest, record.provenance.engine in {"stacked", "vmapped"})
        self._losses = 0
        return record

    def _check_versions(self, found: dict[str, str]) -> None:
        if "without" in found:
            raise ExecutorError(
                f"node {found.get('node')!r} has no folder {found['without']!r}, where cells keep masks and "
                "weights; share the results folder, or leave out --keep"
            )
        names = sorted(self.expected.keys() | found.keys())
        other = [name for name in names if self.expected.get(name) != found.get(name) and name != "node"]
        if other:
            listed = ", ".join(
                f"{name} {found.get(name, 'missing')} (here {self.expected.get(name, 'missing')})"
                for name in other
            )
            raise ExecutorError(
                f"node {found.get('node')!r} has other versions: {listed}; install the same on every node"
            )

    def _lose(self, worker: _Worker, cause: str) -> Record | None:
        """Return the cells of a lost worker to the queue, or a failed record of one lost too often."""
        self._workers.remove(worker)
        self._kill(worker)
        self._losses += 1
        cells, failed = list(worker.cells.values()), None
        for cell in cells:
            self._lost_with[key_of(cell)] += 1
        if len(cells) == 1 and self._lost_with[key_of(cells[0])] >= LOSSES:
            error = NodeLost(f"{LOSSES} workers on a Ray cluster were lost while they ran it: {cause}")
            threads = self._resources.threads
            failed = failed_record(cells.pop(), error, provenance_of(torch.device("cpu"), threads, {}))
        self._queue.extendleft(reversed(cells))
        if self._losses >= LOSSES * self._wanted:
            raise ExecutorError(f"{self._losses} workers in a row were lost on the Ray cluster: {cause}")
        return failed


def _connect(ray: Any, address: str | None) -> None:
    """Connect to a cluster, or start one here where none is named.

    Raises:
        UsageError: It cannot be reached or started, or has another version of Ray or Python.
    """
    settings = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    if address is None and not os.environ.get("RAY_ADDRESS"):
        settings["include_dashboard"] = False
    try:
        ray.init(address=address, **settings)
    except Exception as error:  # it has many kinds
        raise UsageError(f"cannot use the Ray cluster {address or 'here'!r}: {one_line(error)}") from error


def _for_nodes(resources: Resources) -> Resources:
    """Return the resources of one worker, with paths that do not depend on the working folder."""
    checkpoints = resources.checkpoints
    if checkpoints:
        checkpoints = replace(checkpoints, folder=checkpoints.folder.absolute())
    root, results = resources.data_root.absolute(), resources.results
    return replace(
        resources,
        workers=1,
        data_root=root,
        checkpoints=checkpoints,
        results=results.absolute() if results else None,
        options={},
    )


def versions(resources: Resources) -> dict[str, str]:
    """Return the versions that must be the same on all nodes, and the name of this node."""
    found = {"node": platform.node(), "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    plugins = Host.load(report=lambda _: None, files=resources.plugins).plugins
    return {**found, **{plugin.distribution: plugin.version for plugin in plugins}}
