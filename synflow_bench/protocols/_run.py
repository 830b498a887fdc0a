"""Cells in, records out, whatever happens; small networks are trained together."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import torch

from synflow_bench.protocols._bench import Bench
from synflow_bench.protocols._multishot import multishot
from synflow_bench.protocols._provenance import plugins_of, provenance_of
from synflow_bench.protocols._record import failed_record, record_of
from synflow_bench.protocols._singleshot import singleshot
from synflow_bench.protocols._stages import Course, Outcome, examples_of, network_of, training_of
from synflow_bench.records import Epoch, Provenance, Record
from synflow_bench.suites import Cell, Multishot, Singleshot
from synflow_bench.training import OnEpoch, Trained, Training, can_share, train_together

OnCellEpoch = Callable[[Cell, Epoch], None]


def run_cell(cell: Cell, bench: Bench, on_epoch: OnEpoch = lambda _: None) -> Record:
    """Run `cell` on `bench`. What goes wrong becomes a failed record; a missing data set a skipped one."""
    return run_cells([cell], bench, lambda _, epoch: on_epoch(epoch))[0]


def run_cells(cells: Sequence[Cell], bench: Bench, on_epoch: OnCellEpoch) -> list[Record]:
    """The records of `cells`; more than one must be of one setting, and `may_share`.

    Each is what its cell alone would give. Where a training together fails, its cells are run one by one.
    """
    with torch.random.fork_rng(devices=[bench.device] if bench.device.type == "cuda" else []):
        runs = [_Run(cell, bench, partial(on_epoch, cell)) for cell in cells]
        waiting = [run for run in runs if run.goes_on(None)]
        while waiting:
            try:
                trained = train_together([run.training for run in waiting])
            except (Exception, SystemExit) as error:
                _give_up(waiting, error, on_epoch)
                break
            waiting = [run for run, its in zip(waiting, trained, strict=True) if run.goes_on(its)]
    return [run.record for run in runs]


def may_share(cell: Cell, bench: Bench) -> bool:
    """Whether cells of this one's setting may be run together, to the same records; tried once a setting."""
    setting = cell.setting.digest
    if setting not in bench.sharing:
        bench.sharing[setting] = _try_sharing(cell, bench)
    return bench.sharing[setting]


def _try_sharing(cell: Cell, bench: Bench) -> bool:
    try:
        examples, network = examples_of(cell, bench), network_of(cell, bench, "init")
        return can_share(training_of(cell, network, {}, examples))
    except Exception:  # the cell's own run will say what is wrong
        return False


def _give_up(runs: Sequence[_Run], error: BaseException, on_epoch: OnCellEpoch) -> None:
    if len(runs) == 1:
        runs[0].fail(error)
        return
    for run in runs:
        run.record = run_cell(run.cell, run.bench, partial(on_epoch, run.cell))


class _Run:
    """A cell on its way: `training` is what it waits for, `record` what it came to."""

    training: Training
    record: Record

    def __init__(self, cell: Cell, bench: Bench, on_epoch: OnEpoch) -> None:
        self.cell, self.bench = cell, bench
        self._course = _course(cell, bench, on_epoch)
        self._plugins = plugins_of(cell, bench.host)
        self._seconds = 0.0

    def goes_on(self, trained: Trained | None) -> bool:
        """Take the training's result and go on to the next training; false where the record is made."""
        started = time.perf_counter()
        try:
            self.training = next(self._course) if trained is None else self._course.send(trained)
        except StopIteration as end:
            self._finish(end.value, trained, started)
        except (Exception, SystemExit) as error:  # a plugin that exits ends its cell, not the run
            self.fail(error)
        else:
            self._spend(trained, started)
            return True
        return False

    def fail(self, error: BaseException) -> None:
        """End with a failed record."""
        self.record = failed_record(self.cell, error, self._provenance(None))

    def _finish(self, outcome: Outcome, trained: Trained | None, started: float) -> None:
        self._spend(trained, started)
        provenance = self._provenance(outcome)
        self.record = record_of(self.cell, outcome, self._seconds, provenance)

    def _spend(self, trained: Trained | None, started: float) -> None:
        self._seconds += time.perf_counter() - started + (trained.seconds if trained else 0.0)

    def _provenance(self, outcome: Outcome | None) -> Provenance:
        facts = (outcome.score_dtype, outcome.trained.engine) if outcome else ()
        return provenance_of(self.bench.device, self.bench.threads, self._plugins, *facts)


def _course(cell: Cell, bench: Bench, on_epoch: OnEpoch) -> Course:
    match cell.setting.protocol:
        case Multishot() as protocol:
            return (yield from multishot(cell, protocol, bench, on_epoch))
        case Singleshot():
            return (yield from singleshot(cell, bench, on_epoch))
