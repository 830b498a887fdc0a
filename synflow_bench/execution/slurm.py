"""The Slurm executor: an array of jobs, each a run of its own that shares the results folder with the others.

The jobs claim their cells, save checkpoints, and are requeued when they are preempted or their time is up.
The process that has submitted them only waits for records: it may end, and the same command attaches again.
"""

from __future__ import annotations

import base64
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

from synflow_bench.errors import RecordError, UsageError, one_line
from synflow_bench.execution.claims import CellClaims
from synflow_bench.execution.executor import DetachedError, ExecutorError, Resources
from synflow_bench.execution.plan import make_plan
from synflow_bench.files import write_atomically
from synflow_bench.host import Host, PluginFile
from synflow_bench.limits import Limits, parse_bytes
from synflow_bench.protocols import Checkpoints, OnCellEpoch
from synflow_bench.records import Record, Store, key_of
from synflow_bench.suites import Cell

POLL = 5.0
"""The seconds between two looks at the queue and at the records."""

PATIENCE = 1800.0
"""The seconds that the controller may be away, restarted or overloaded, while a run waits for its jobs."""

SUBMISSIONS = 3
"""The arrays in a row that may end without a new record before the run is given up."""

WARNING = 120
"""The seconds before the end of a job's time at which it saves its cells and is requeued."""

_PASSED = frozenset(
    {
        "account",
        "constraint",
        "exclude",
        "gpus",
        "gres",
        "nodelist",
        "partition",
        "qos",
        "reservation",
        "time",
    }
)
SCRIPT = """\
#!/bin/bash
trap 'again=yes; kill -TERM "$child"' USR1
trap 'kill -TERM "$child"' TERM
{command} &
child=$!
wait "$child"; code=$?
while kill -0 "$child" 2>/dev/null; do wait "$child"; code=$?; done
if [ -n "$again" ]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$code"
"""


class SlurmExecutor:
    """Jobs of a Slurm cluster that share the results folder.

    Options: those of `sbatch` (`partition`, `time`, `gpus`, `account`, ...), `cpus` and `memory` of a job,
    the number of `jobs`, and `detach=yes` to end as soon as they are submitted.

    Raises:
        UsageError: Slurm is not installed here, or an option cannot be used.
    """

    options: ClassVar[frozenset[str]] = _PASSED | {"cpus", "detach", "jobs", "memory"}

    def __init__(self, resources: Resources, _on_epoch: OnCellEpoch) -> None:
        if shutil.which("sbatch") is None:
            raise UsageError(
                "executor 'slurm' needs the command sbatch; start it on a login node of a cluster"
            )
        if resources.results is None or not all(isinstance(each, PluginFile) for each in resources.plugins):
            raise UsageError("executor 'slurm' cannot send classes to jobs; write a plugin file (--plugin)")
        options = dict(resources.options)
        self._detach = options.pop("detach", "no") == "yes"
        jobs = options.pop("jobs", "1")
        if not jobs.isdecimal() or not 1 <= int(jobs) <= 10_000:
            raise UsageError(f"jobs={jobs!r} is no number of jobs; give one from 1 on")
        self._jobs = int(jobs)
        cpus, memory = options.pop("cpus", None), options.pop("memory", None)
        self._arguments = [f"--{name}={value}" for name, value in sorted(options.items())]
        self._arguments.append(f"--cpus-per-task={cpus or max(1, resources.workers) * resources.threads}")
        if memory:
            self._arguments.append(f"--mem={parse_bytes(memory) >> 20}M")
        self._resources = resources
        self._root = resources.results.absolute()
        self._store = Store(self._root)
        self._name = f"sfb-{sha256(str(self._root).encode()).hexdigest()[:12]}"
        self._cells: dict[str, Cell] = {}
        self._before: dict[str, int | None] = {}
        self._answered = time.monotonic()
        self.claims = CellClaims()  # the jobs take the cells, not this process

    @property
    def workers(self) -> int:
        """The number of workers of all jobs."""
        return self._jobs * max(1, self._resources.workers)

    def submit(self, cell: Cell) -> None:
        """Keep a cell for the next array of jobs."""
        self._cells[key_of(cell)] = cell
        self._before[key_of(cell)] = self._written(cell)

    def finished(self) -> Iterator[Record]:
        """Submit an array of jobs, unless one of this results folder is queued, and yield its records.

        Raises:
            ExecutorError: Slurm refuses the jobs, or they end without records.
            DetachedError: The jobs are submitted, and this process need not wait.
        """
        fruitless = 0
        while self._cells:
            attached = self._queued()
            if not attached:
                if fruitless == SUBMISSIONS:
                    raise ExecutorError(
                        f"{len(self._cells)} cells have no record after {SUBMISSIONS} arrays of jobs; "
                        f"their logs are in {str(self._folder)!r}"
                    )
                attached = self._submit_jobs()
            if self._detach:
                raise DetachedError(
                    f"Slurm jobs {', '.join(attached)} run the missing cells; `synflow-bench status` shows "
                    "their progress, and the same command without --detach waits for them"
                )
            count = len(self._cells)
            self._answered = time.monotonic()
            while self._has_jobs():
                yield from self._new_records()
                time.sleep(POLL)
            yield from self._new_records()
            fruitless = fruitless + 1 if len(self._cells) == count else 0

    def close(self) -> None:
        """Stop waiting; the jobs go on."""
        self._cells.clear()

    @property
    def _folder(self) -> Path:
        return self._root / "slurm"

    def _queued(self) -> list[str]:
        lines = _call("squeue", "--noheader", f"--name={self._name}", "--format=%A").split()
        return sorted(set(lines))

    def _has_jobs(self) -> bool:
        """Return True while there are jobs, also while the controller does not answer, for `PATIENCE`."""
        try:
            queued = self._queued()
        except ExecutorError:
            if time.monotonic() - self._answered > PATIENCE:
                raise
            return True
        self._answered = time.monotonic()
        return bool(queued)

    def _submit_jobs(self) -> list[str]:
        cells = list(self._cells.values())
        stamp = f"{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}"
        job, script = self._folder / f"{stamp}.json", self._folder / f"{stamp}.sh"
        write_atomically(
            job, json.dumps(_to_json(self._root, cells, self._resources, forced=self._is_forced))
        )
        command = shlex.join([sys.executable, "-m", "synflow_bench.execution.slurm", str(job)])
        write_atomically(script, SCRIPT.format(command=command))
        number = _call(
            "sbatch",
            "--parsable",
            "--requeue",
            "--open-mode=append",
            f"--signal=B:USR1@{WARNING}",
            f"--job-name={self._name}",
            f"--array=1-{min(self._jobs, len(cells))}",
            f"--output={self._folder}/{stamp}-%a.log",
            *self._arguments,
            str(script),
        )
        return [number.strip().partition(";")[0]]

    def _new_records(self) -> Iterator[Record]:
        for key, cell in list(self._cells.items()):
            if self._written(cell) != self._before[key] and (record := self._record(cell)):
                del self._cells[key]
                yield record

    def _record(self, cell: Cell) -> Record | None:
        try:
            return self._store.get(cell)
        except RecordError:
            return None

    def _written(self, cell: Cell) -> int | None:
        try:
            return self._store.path(cell).stat().st_mtime_ns
        except OSError:
            return None

    @property
    def _is_forced(self) -> bool:
        """True if cells are to be run that have a good record: no others would be missing in the plan."""
        records = (self._record(cell) for key, cell in self._cells.items() if self._before[key])
        return any(record is not None and record.outcome in ("ok", "not defined") for record in records)


def _call(*command: str) -> str:
    """Run a command of Slurm and return what it prints.

    Raises:
        ExecutorError: It fails; the message is its last line.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError as error:
        raise ExecutorError(f"cannot run {command[0]}: {one_line(error)}") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ExecutorError(f"{command[0]} fails: {lines[-1]}")
    return done.stdout


def _to_json(root: Path, cells: Sequence[Cell], resources: Resources, *, forced: bool) -> dict[str, Any]:
    limits, checkpoints = resources.limits, resources.checkpoints
    return {
        "results": str(root),
        "forced": forced,
        "cells": [cell.model_dump(mode="json") for cell in cells],
        "data": str(resources.data_root.absolute()),
        "device": resources.device,
        "workers": resources.workers or 1,
        "threads": resources.threads,
        "limits": vars(limits),
        "keep": list(resources.keep),
        "checkpoints": [checkpoints.minutes, checkpoints.epochs] if checkpoints else None,
        "plugins": [
            [each.given, str(each.path), base64.b64encode(each.source).decode("ascii")]
            for each in resources.plugins
            if isinstance(each, PluginFile)
        ],
    }


def run_job(job: Path) -> int:
    """Run the cells of a job file that no other job has claimed; return the exit code."""
    from synflow_bench.progress import run_with_progress

    given = json.loads(job.read_text(encoding="utf-8"))
    root, saved = Path(given["results"]), given["checkpoints"]
    files = tuple(
        PluginFile(name, Path(path), base64.b64decode(source)) for name, path, source in given["plugins"]
    )
    host = Host.load(files=files)
    cells = [Cell.model_validate(cell) for cell in given["cells"]]
    store, data = Store(root), Path(given["data"])
    resources = Resources(
        data,
        given["device"],
        given["workers"],
        given["threads"],
        host.files,
        checkpoints=Checkpoints.of(root, minutes=saved[0], epochs=saved[1]) if saved else None,
        limits=Limits(**given["limits"]),
        results=root,
        keep=tuple(given["keep"]),
    )
    plan = make_plan(cells, host, store, data, force=given["forced"])
    summary = run_with_progress(
        plan, store, host, host.executors.get("local"), resources, since=job.stat().st_mtime
    )
    return summary.exit_code


if __name__ == "__main__":
    sys.exit(run_job(Path(sys.argv[1])))
