"""A results folder of the fault campaign: the runs on it, and what is lost, repeated, changed or left."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import psutil

from synflow_bench.records import Store

Popen = subprocess.Popen[str]
SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")
CELLS = (
    "--pruner=magnitude",
    "--pruner=random",
    "--compression=2",
    "--compression=10",
    "--seeds=2",
    "--epochs=1",
)
"""Ten cells of plugins that do no harm: two dense ones, and two pruners at two ratios on two seeds."""

LONGEST = 400.0
"""The seconds after which a run counts as hanging."""

MARK = "FAULT_CAMPAIGN"
"""The environment variable by which the processes of a trial are found again."""

START = """
import sys, time
after, jump = map(float, sys.argv[1:3])
real, began = time.time, time.monotonic()
time.time = lambda: real() + (jump if time.monotonic() - began > after else 0.0)
sys.argv[1:3] = []
from synflow_bench.cli import main
sys.exit(main())
"""
"""A command whose clock jumps."""


@dataclass
class Count:
    """The sums of a row of the table."""

    trials: int = 0
    planned: int = 0
    recorded: int = 0
    lost: int = 0
    repeated: int = 0
    changed: int = 0
    files_left: int = 0
    processes_left: int = 0
    wrong_ends: int = 0

    def add(self, other: Count) -> None:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    @property
    def harm(self) -> int:
        """The sum of everything that must not happen."""
        return (
            self.lost + self.repeated + self.changed + self.files_left + self.processes_left + self.wrong_ends
        )


@dataclass
class Trial:
    """One results folder, the runs on it, and what was seen of its records.

    Args:
        folder: The folder of the trial.
        seed: The seed of the moments and choices.
        reference: The results of the cells that no fault may change, by key.
        cells: The options that choose the cells.
    """

    folder: Path
    seed: int
    reference: dict[str, dict[str, Any]]
    cells: tuple[str, ...] = CELLS
    processes: list[Popen] = field(default_factory=list)
    planned: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)  # noqa: S311
        self.results = self.folder / "results"
        self.token = f"{os.getpid()}-{self.folder.name}-{self.seed}"
        self._seen: dict[Path, tuple[int, int]] = {}
        self._forgotten: set[str] = set()
        self._forgotten_keys: set[str] = set()
        self.rewritten: set[str] = set()

    def start(
        self, *options: str, clock: tuple[float, float] | None = None, limit_file: int | None = None
    ) -> Popen:
        """Start a run of the cells."""
        start = ["-c", START, *map(str, clock)] if clock else ["-m", "synflow_bench"]
        log = self.folder / f"log{len(self.processes)}.jsonl"

        def prepare() -> None:
            for name in SIGNALS[1:]:
                signal.signal(getattr(signal, name), signal.SIG_DFL)
            if limit_file:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit_file, resource.RLIM_INFINITY))

        command = [sys.executable, *start, "run", *self.cells, "--workers=2", "--results", str(self.results)]
        number = len(self.processes)
        with (self.folder / f"out{number}").open("w") as out, (self.folder / f"err{number}").open("w") as err:
            process = subprocess.Popen(
                [*command, "--json", "--log-json", str(log), *options],
                env={**os.environ, MARK: self.token, "OMP_NUM_THREADS": "1"},
                stdout=out,
                stderr=err,
                stdin=subprocess.DEVNULL,
                text=True,
                preexec_fn=prepare,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def paths(self) -> list[Path]:
        return sorted((self.results / "records").rglob("[!.]*.json"))

    def look(self) -> int:
        """Note which good records are there, and which of them were written again; return their number.

        Failed records do not count: a later run computes their cells again.
        """
        paths = self.paths()
        for path in paths:
            with suppress(OSError):
                if path not in self._seen and '"status": "failed"' in path.read_text():
                    continue
                state = path.stat()
                stamp = state.st_ino, state.st_mtime_ns
                if self._seen.setdefault(path, stamp) != stamp:
                    self.rewritten.add(path.name)
                    self._seen[path] = stamp
        return len(paths)

    def forget(self, *paths: Path) -> None:
        """Allow that these records are computed again; by default all that were ever there."""
        if not paths:  # some may have gone before anybody saw them
            self._forgotten_keys.update(self._keys_finished())
        for path in paths or list(self._seen):
            self._forgotten.add(path.name)
            self._seen.pop(path, None)

    def wait_for(self, count: int, process: Popen) -> None:
        """Wait for so many records, or for the end of a run."""
        deadline = time.monotonic() + LONGEST
        while self.look() < count and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)

    def some_records(self, process: Popen) -> None:
        """Wait for a random number of records, and a random moment more."""
        self.wait_for(self.random.randrange(10), process)
        time.sleep(self.random.random() * 0.3)

    def end(self, process: Popen, *codes: int) -> None:
        """Wait for a run; an end with another exit code, or with impure JSON, is a problem."""
        deadline = time.monotonic() + LONGEST
        while process.poll() is None:
            self.look()
            if time.monotonic() > deadline:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                self.problems.append("it hangs")
                return
            time.sleep(0.1)
        number = self.processes.index(process)
        err = (self.folder / f"err{number}").read_text(errors="replace")
        # Python itself can be interrupted before it runs the first line of the package.
        if process.returncode not in codes or ("Traceback" in err and "synflow_bench" in err):
            self.problems.append(f"exit code {process.returncode}, not {codes}: {err[-600:]}")
        if process.returncode in (0, 1, 130):
            text = (self.folder / f"out{number}").read_text(errors="replace")
            try:
                self.planned |= {cell["key"] for cell in json.loads(text)["cells"]}
            except (ValueError, KeyError):
                if process.returncode == 0 or text:
                    self.problems.append(f"stdout is no JSON: {text[:300]!r} {err[-300:]}")

    def workers(self, process: Popen) -> list[psutil.Process]:
        with suppress(psutil.Error):
            servers = psutil.Process(process.pid).children()
            return [each for server in servers for each in server.children()]
        return []

    def finish(self) -> Count:
        """Count what is there at the end."""
        time.sleep(0.3)
        self.look()
        left = self._processes_left()
        unreadable: list[str] = []
        found = {record.key: record for record in Store(self.results).read_all(unreadable)}
        finished = Counter(self._keys_finished())
        forgotten = {name for name in self._forgotten if name}
        again = {key for key, count in finished.items() if count > 1} - self._forgotten_keys
        names = {record.key: Store(self.results).path(record.cell).name for record in found.values()}
        repeated = {names.get(key, key) for key in again & self.reference.keys()} | {
            name for key, name in names.items() if key in self.reference and name in self.rewritten
        }
        planned = self.planned | self.reference.keys()
        return Count(
            trials=1,
            planned=len(planned),
            recorded=len(planned & found.keys()),
            lost=len(planned - found.keys())
            + sum(key in found and found[key].status != "ok" for key in self.reference),
            repeated=len(repeated - forgotten),
            changed=sum(
                found[key].result != result
                for key, result in self.reference.items()
                if key in found and found[key].status == "ok"
            ),
            files_left=sum(1 for path in self._files_left()),
            processes_left=left,
            wrong_ends=len(self.problems),
        )

    def _keys_finished(self) -> Iterator[str]:
        for path in self.folder.glob("log*.jsonl"):
            for line in path.read_text(errors="replace").splitlines():
                with suppress(ValueError):
                    event = json.loads(line)
                    if event["event"] == "cell finished" and event.get("status") == "ok":
                        yield event["key"]

    def _files_left(self) -> Iterator[Path]:
        for path in self.results.rglob("*"):
            place = path.relative_to(self.results).parts[0]
            if path.is_file() and (path.suffix == ".tmp" or place in {"claims", "runs", "checkpoints"}):
                yield path

    def _processes_left(self) -> int:
        left = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(MARK) == self.token and process.status() != psutil.STATUS_ZOMBIE:
                    left.append(process)
        for process in left:
            self.problems.append(f"left: {process}")
            with suppress(psutil.Error):
                process.kill()
        return len(left)
