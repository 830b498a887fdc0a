"""One profile, made in a fresh process, as a worker is one."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection

from synflow_bench.errors import HandledError
from synflow_bench.profiling._run import run_timed
from synflow_bench.profiling._stages import STAGES
from synflow_bench.profiling._stopwatch import Stopwatch
from synflow_bench.profiling._task import Profile, Row, Task
from synflow_bench.records import Record

START = "start: interpreter, imports"


class ProfileError(HandledError):
    """A cell that cannot be profiled, because it does not run."""

    exit_code = 1


def profile_cells(task: Task) -> Profile:
    """Run the cells of `task` in a fresh process; raises `ProfileError` where one fails."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, task, time.time()))
    process.start()
    theirs.close()
    try:
        answer: Profile | str = ours.recv()
    except EOFError:
        answer = "its process ended without a word"
    finally:
        process.join()
    if isinstance(answer, str):
        raise ProfileError(f"{task.cells[0].title} cannot be profiled: {answer}")
    return answer


def _work(pipe: Connection, task: Task, started: float) -> None:
    """Runs in the fresh process, where all imports are made before it is called: torch's among them."""
    start, stopwatch = time.time() - started, Stopwatch()
    try:
        records = run_timed(task, stopwatch)
    except HandledError as error:
        pipe.send(str(error))
        return
    total = time.time() - started
    failed = next((record.error for record in records if record.error), None)
    pipe.send(failed.message if failed else _profile(task, records, _rows(stopwatch, start), total))


def _rows(stopwatch: Stopwatch, start: float) -> tuple[Row, ...]:
    names = [stage.name for stage in STAGES if stopwatch.calls[stage.name]]
    return (Row(START, start, 1), *(Row(n, stopwatch.seconds[n], stopwatch.calls[n]) for n in names))


def _profile(task: Task, records: Sequence[Record], rows: tuple[Row, ...], total: float) -> Profile:
    facts = records[0].provenance
    engine = facts.engine or "eager"
    return Profile(task.cells[0].title, facts.device, facts.torch, engine, len(records), rows, total)
