"""Break runs in many ways, again and again, and count what is lost; write the table of the page on faults.

`python benchmarks/fault_campaign.py --minutes 3` runs every fault in turn; `--soak 2000` adds a run of so
many cells under random kills. Equal seeds break at equal places, as far as the speed of the machine allows.
It needs Linux; the disk that is full needs root, for a small file system in memory.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent
from typing import Any

import psutil
from fault_trial import CELLS, SIGNALS, Count, Trial

from synflow_bench.records import Store

PLUGIN = '''
    """Pruners that do harm."""

    import ctypes
    import os
    import time

    from synflow_bench import Pruner, hookimpl

    HELD = []

    def hangs():
        while True:
            time.sleep(1)

    def exits():
        os._exit(0)

    def crashes():
        ctypes.string_at(0)

    def forks():
        for _ in range(3):
            if not os.fork():
                time.sleep(3600)
                os._exit(0)

    def leaks():
        while True:
            HELD.append(bytearray(os.urandom(1 << 20)) * 200)
            time.sleep(0.05)

    def prints():
        for number in range(1_000_000):
            print("line", number)

    def pruner(act):
        def score(self, problem):
            act()
            return {name: weight.detach().abs() for name, weight in problem.parameters.items()}
        content = {"score": score, "__doc__": "It does harm.", "needs_data": False}
        return type(act.__name__.title(), (Pruner,), content)

    @hookimpl
    def synflow_bench_pruners():
        return {act.__name__: pruner(act) for act in (hangs, exits, crashes, forks, leaks, prints)}
'''

Fault = Callable[[Trial], None]
FAULTS: dict[str, Fault] = {}


def fault(name: str) -> Callable[[Fault], Fault]:
    def register(act: Fault) -> Fault:
        FAULTS[name] = act
        return act

    return register


def _front(name: str) -> Fault:
    def act(trial: Trial) -> None:
        for _ in range(trial.random.randint(1, 2)):
            run = trial.start("--checkpoint-epochs=1")
            trial.some_records(run)
            with suppress(ProcessLookupError):
                os.kill(run.pid, getattr(signal, name))
            number = getattr(signal, name)
            # before Python has its handlers, the kernel's default applies
            trial.end(run, 0, 130, -number)
        trial.end(trial.start(), 0)

    return act


for _name in SIGNALS:
    FAULTS[f"the run gets {_name}"] = _front(_name)


@fault("the whole group of processes is killed")
def _group(trial: Trial) -> None:
    run = trial.start()
    trial.some_records(run)
    with suppress(ProcessLookupError):
        os.killpg(run.pid, signal.SIGKILL)
    trial.end(run, 0, -signal.SIGKILL)
    trial.end(trial.start(), 0)


@fault("workers are killed")
def _workers(trial: Trial) -> None:
    run = trial.start()
    for _ in range(3):
        trial.some_records(run)
        if found := trial.workers(run):
            with suppress(psutil.Error):
                trial.random.choice(found).kill()
    trial.end(run, 0, 1)
    trial.end(trial.start(), 0)


@fault("a worker is stopped (SIGSTOP)")
def _stopped(trial: Trial) -> None:
    run = trial.start("--cell-timeout=20s")
    trial.some_records(run)
    if found := trial.workers(run):
        with suppress(psutil.Error):
            trial.random.choice(found).suspend()
    trial.end(run, 0, 1)
    trial.end(trial.start(), 0)


def _plugin(name: str, code: int, *options: str) -> Fault:
    def act(trial: Trial) -> None:
        file = trial.folder / "lab_harm.py"
        file.write_text(dedent(PLUGIN))
        trial.end(trial.start("--plugin", str(file), f"--pruner={name}", *options), code)

    return act


FAULTS["a plugin hangs"] = _plugin("hangs", 1, "--cell-timeout=20s")
FAULTS["a plugin ends its process"] = _plugin("exits", 1)
FAULTS["a plugin crashes (SIGSEGV)"] = _plugin("crashes", 1)
FAULTS["a plugin starts processes and leaves them"] = _plugin("forks", 0)
FAULTS["a plugin leaks 200 MB at a time"] = _plugin("leaks", 1, "--memory-limit=1500M")
FAULTS["a plugin prints a million lines"] = _plugin("prints", 0)


@contextmanager
def _small_disk(trial: Trial, size: str) -> Iterator[bool]:
    """Put a small file system at the results folder; False if this user may not."""
    trial.results.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(trial.results)]
    mounted = not os.getuid() and not subprocess.run(mount, capture_output=True, check=False).returncode
    yield mounted
    if mounted:
        copy = trial.folder / "copy"
        trial.end(trial.start(), 0)
        shutil.copytree(trial.results, copy)
        subprocess.run(["umount", "--lazy", str(trial.results)], check=True)
        trial.results.rmdir()
        copy.rename(trial.results)
        trial.forget()


@fault("the disk is full")
def _full(trial: Trial) -> None:
    with _small_disk(trial, f"{trial.random.randint(24, 120)}k") as mounted:
        trial.end(trial.start(limit_file=None if mounted else 2000), 1, 2)
        if mounted:
            subprocess.run(["mount", "-o", "remount,size=64m", str(trial.results)], check=True)
    if not mounted:
        trial.end(trial.start(), 0)


@fault("the folder becomes read-only")
def _read_only(trial: Trial) -> None:
    with _small_disk(trial, "64m") as mounted:
        if not mounted:
            trial.results.chmod(0o555)
            trial.end(trial.start(), 1, 2)
            trial.results.chmod(0o755)
            trial.end(trial.start(), 0)
            return
        run = trial.start()
        trial.some_records(run)
        command = ["mount", "-o", "remount,ro", str(trial.results)]
        while run.poll() is None and subprocess.run(command, capture_output=True, check=False).returncode:
            time.sleep(0.01)  # a file is being written
        trial.end(run, 0, 1, 2)
        subprocess.run(["mount", "-o", "remount,rw", str(trial.results)], check=True)


@fault("the results folder is removed")
def _removed(trial: Trial) -> None:
    run = trial.start()
    trial.wait_for(trial.random.randint(1, 9), run)
    was_running = run.poll() is None
    for _ in range(20):
        with suppress(OSError):
            shutil.rmtree(trial.results)
            break
    trial.forget()
    trial.end(run, 1, 2) if was_running else trial.end(run, 0, 1)
    trial.forget()
    trial.end(trial.start(), 0)


@fault("records are damaged or cut")
def _damaged(trial: Trial) -> None:
    trial.end(trial.start(), 0)
    for path in trial.random.sample(trial.paths(), 4):
        content = bytearray(path.read_bytes())
        place = trial.random.randrange(len(content))
        trial.forget(path)
        kind = trial.random.randrange(4)
        if kind == 0:
            content[place] ^= 1 << trial.random.randrange(8)
        elif kind == 1:
            del content[place:]
        elif kind == 2:
            content[place:] = bytes(len(content) - place)
        else:
            content.clear()
        path.write_bytes(content)
    trial.end(trial.start(), 0)


@fault("clocks jump while two runs share the folder")
def _clocks(trial: Trial) -> None:
    jumps = [trial.random.choice([-1, 1]) * 10 ** trial.random.uniform(2, 7) for _ in range(3)]
    runs = [trial.start("--executor=serial", "--workers=1", clock=(3.0, jump)) for jump in jumps[:2]]
    while any(run.poll() is None for run in runs):
        trial.look()
        for path in [*trial.results.glob("runs/*.json"), *trial.results.glob("claims/*/*")]:
            with suppress(OSError):
                os.utime(path, (time.time() + jumps[2],) * 2)
        time.sleep(0.2)
    for run in runs:
        trial.end(run, 0)


@fault("one of three runs on the folder is killed")
def _three(trial: Trial) -> None:
    runs = [trial.start("--executor=serial", "--workers=1") for _ in range(3)]
    trial.wait_for(trial.random.randrange(5), runs[0])  # early: the other two must have work left
    killed = trial.random.choice(runs)
    killed.kill()
    for run in runs:
        trial.end(run, 0, *([-signal.SIGKILL] if run is killed else []))


def reference(cells: tuple[str, ...] = CELLS, executor: str = "serial") -> dict[str, dict[str, Any]]:
    """Run the cells once without a fault, and return their results by key."""
    with TemporaryDirectory() as folder:
        trial = Trial(Path(folder), 0, {}, cells)
        trial.end(trial.start(f"--executor={executor}", "--workers=1"), 0)
        assert not trial.problems, trial.problems
        return {record.key: record.result for record in Store(trial.results)}


def run_trial(name: str, seed: int, expected: dict[str, dict[str, Any]]) -> tuple[Count, list[str]]:
    """Run one trial of a fault; return its counts and its problems."""
    with TemporaryDirectory() as folder:
        trial = Trial(Path(folder), seed, expected)
        FAULTS[name](trial)
        return trial.finish(), trial.problems


def soak(count: int, seed: int) -> tuple[Count, int, list[str]]:
    """Run at least `count` cells under random kills; return counts, kills and problems."""
    ratios = tuple(f"--compression={ratio}" for ratio in (1.5, 2, 3, 5, 10, 20, 30, 50, 80, 100))
    cells = ("--pruner=magnitude", "--pruner=random", *ratios, "--epochs=0")
    sample = reference((*cells, "--seeds=5"))
    with TemporaryDirectory() as folder:
        trial = Trial(Path(folder), seed, sample, (*cells, f"--seeds={-(-count // 21)}"))
        kills, run = 0, trial.start()
        while True:
            trial.wait_for(trial.look() + trial.random.randint(1, count // 6), run)
            name = trial.random.choice([*SIGNALS, "worker"])
            if run.poll() is not None:
                trial.end(run, 0, 1)
                if run.returncode == 0:
                    break
                run = trial.start()
            elif name != "worker":
                kills += 1
                os.kill(run.pid, getattr(signal, name))
                trial.end(run, 0, 130, -signal.SIGKILL)
                run = trial.start()
            elif workers := trial.workers(run):
                kills += 1
                with suppress(psutil.Error):
                    trial.random.choice(workers).kill()
        keys = {record.key: record.result for record in Store(trial.results) if record.status == "ok"}
        trial.reference = {**keys, **sample}
        return trial.finish(), kills, trial.problems


PAGE = """\
# Faults

`benchmarks/fault_campaign.py` breaks runs in many ways and counts what is lost.
This page is its output:

```sh
python {command}
```

Every trial has a results folder of its own and small cells.
At its end it has a run without a fault where one is needed.
The moments are random, with seed {seed}.

| column | meaning |
| --- | --- |
| planned, recorded | cells of the plan, and those with a valid record at the end |
| lost | cells without a record, and cells of a pruner that does no harm whose record is not `ok` |
| repeated | cells that were computed again although their record was there and whole |
| changed | cells whose result differs by a bit from that of a serial run without faults |
| files | temporary files, claims, run files and checkpoints that are left |
| processes | processes that are left |
| wrong ends | runs that hang, end with another exit code or a traceback, or whose `--json` is impure |

| fault | trials | planned | recorded | lost | repeated | changed | files | processes | wrong ends |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
{rows}

{soak}
A fault that ends a run while its record is being written may leave a temporary file; the next run deletes it.
[Limits and faults](../how-to/limits-and-faults.md) says what each fault costs.
"""


def page(counts: dict[str, Count], seed: int, command: str, soaked: tuple[Count, int] | None) -> str:
    """Return the page of the documentation."""
    total = Count()
    for count in counts.values():
        total.add(count)
    rows = [_row(name, count) for name, count in {**counts, "**all**": total}.items()]
    text = ""
    if soaked:
        rows.append(_row(f"{soaked[0].planned:,} cells under {soaked[1]} random kills", soaked[0]))
        text = "In the last row, the results of 105 cells were compared with a serial run.\n"
    return PAGE.format(command=command, seed=seed, rows="\n".join(rows), soak=text)


def _row(name: str, count: Count) -> str:
    return f"| {name} | " + " | ".join(f"{getattr(count, each.name):,}" for each in fields(count)) + " |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=3, help="start no trial after this time (default 3)")
    parser.add_argument(
        "--trials", type=int, default=1000, help="at most so many of each fault (default 1000)"
    )
    parser.add_argument("--jobs", type=int, default=1, help="trials at a time (default 1)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--soak", type=int, default=0, metavar="CELLS", help="add a run of so many cells")
    parser.add_argument(
        "--fault", action="append", choices=list(FAULTS), metavar="NAME", help="only this one"
    )
    parser.add_argument("--output", type=Path, help="the page to write; default stdout")
    given = parser.parse_args()
    names, expected = given.fault or list(FAULTS), reference()
    deadline = time.monotonic() + 60 * given.minutes
    counts = {name: Count() for name in names}

    def trial(number: int) -> None:
        if time.monotonic() < deadline:
            name = names[number % len(names)]
            count, problems = run_trial(name, given.seed + number, expected)
            counts[name].add(count)
            print(
                f"{name}, seed {given.seed + number}: {count}",
                *problems,
                sep="\n  ",
                file=sys.stderr,
                flush=True,
            )

    with ThreadPoolExecutor(given.jobs) as jobs:
        list(jobs.map(trial, range(given.trials * len(names))))
    soaked = None
    if given.soak:
        count, kills, problems = soak(given.soak, given.seed)
        print(f"soak, {kills} kills: {count}", *problems, sep="\n  ", file=sys.stderr, flush=True)
        soaked = count, kills
    text = page(counts, given.seed, shlex.join(["benchmarks/fault_campaign.py", *sys.argv[1:]]), soaked)
    given.output.write_text(text) if given.output else print(text, end="")
    harm = sum(count.harm for count in counts.values()) + (soaked[0].harm if soaked else 0)
    return int(harm > 0)


if __name__ == "__main__":
    sys.exit(main())
