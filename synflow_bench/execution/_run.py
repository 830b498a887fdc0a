"""Running what is missing: dispatch, collect, record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from synflow_bench.execution._executor import Executor, ExecutorError
from synflow_bench.execution._plan import Plan
from synflow_bench.records import Record, Store

OnRecord = Callable[[Record], None]


@dataclass(frozen=True)
class Summary:
    """How the cells of a run ended.

    `failed` counts those that are failed now, `recorded` those that needed no work. `interrupted` when the
    user stopped the run; `stopped` says why it could not go on.
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
    """Run the missing cells of `plan`; every record is on disk before anyone hears of it.

    Files that are no records make room first, below `replaced/`. An interrupt ends the run; what had finished
    is kept.
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
