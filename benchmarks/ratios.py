"""Quick ratios: our time over that of the same work done plainly, both measured now and in turns.

`compare.py` holds them against those of `baseline.json`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import torch
from bench_masking import step_of
from bench_selection import ours as with_ours
from bench_selection import scores, with_kthvalue
from bench_together import SHAPE, trainings
from conventional import network, synflow_masks
from harness import COMPRESSIONS, cells_for, recorded_run, suite_of
from synthetic import write_records

from synflow_bench import prune
from synflow_bench.execution import make_plan
from synflow_bench.host import Host
from synflow_bench.records import Store, read_record
from synflow_bench.suites import Cell
from synflow_bench.training.loop import Batch
from synflow_bench.training.step import StackedStep, TrainingStep

Work = Callable[[], object]


@dataclass(frozen=True)
class Pair:
    """Two ways of one piece of work, each done `times` in a row and `turns` in turn.

    They give their processor seconds themselves where they are `timed`, as other processes do the work.
    """

    ours: Work
    plain: Work
    times: int = 1
    turns: int = 7
    timed: bool = False

    def ratio(self) -> float:
        """Our least processor time over the plain way's."""
        both = [(self._seconds(self.ours), self._seconds(self.plain)) for _ in range(self.turns + 1)]
        ours, plain = zip(*both[not self.timed :], strict=True)  # the first turn warms what is ours
        return float(min(ours) / min(plain))

    def _seconds(self, work: Work) -> float:
        if self.timed:
            return float(work())  # type: ignore[arg-type]
        started = time.process_time()
        for _ in range(self.times):
            work()
        return time.process_time() - started


def pairs(root: Path) -> Mapping[str, Callable[[], Pair]]:
    """What is measured, by name, made when its turn comes; files are written below `root`."""
    return {
        "training step with masks / masks in the forward pass": _masks,
        "step of eight networks together / one by one": _together,
        "k largest of 1.4 million / kthvalue": _largest,
        "synflow, 20 rounds, fc / the formula": _synflow,
        "planning a cell / building and asking for its file": partial(_planning, root / "plan"),
        "writing a record / write and fsync": partial(_writing, root / "writing"),
        "reading results / whole records": partial(_reading, root / "reading"),
        "a run with everything recorded / loading torch": _nothing_to_do,
    }


def _masks() -> Pair:
    return Pair(step_of("gradients and weights"), step_of("forward pass"), times=100)


def _together() -> Pair:
    batch = Batch(torch.randn(64, *SHAPE), torch.arange(64) % 10, 1e-3)
    stacked = StackedStep(trainings())
    alone = [TrainingStep.of(training) for training in trainings()]
    return Pair(lambda: stacked([batch] * 8), lambda: [step([batch]) for step in alone], times=20)


def _largest() -> Pair:
    given = scores(14, 100_000)
    return Pair(partial(with_ours, *given), partial(with_kthvalue, *given), times=5)


def _synflow() -> Pair:
    model, shape = network(), (1, 28, 28)
    names = [name for name, parameter in model.named_parameters() if parameter.dim() > 1]
    ours = partial(prune, model, "synflow[rounds=20]", compression=10, input_shape=shape)
    return Pair(ours, partial(synflow_masks, model, names, shape, 10, 20), times=3)


def _planning(root: Path) -> Pair:
    host, suite, store = Host.load(), suite_of(2000), Store(root)
    (setting,), pruners = suite.settings, {c.pruner.label: c.pruner for c in cells_for(suite, host)}

    def plainly() -> None:
        for pruner, compression, seed in product(pruners.values(), COMPRESSIONS, suite.seeds):
            store.path(Cell(setting=setting, pruner=pruner, compression=compression, seed=seed)).exists()

    return Pair(lambda: make_plan(cells_for(suite, host), host, store, root), plainly)


def _writing(root: Path) -> Pair:
    write_records(root, 1)
    store = Store(root)
    (record,), text = list(store), store.paths()[0].read_bytes()

    def plainly() -> None:
        with (root / "plain").open("wb") as file:
            file.write(text)
            os.fsync(file.fileno())

    def ours() -> None:
        store.path(record.cell).unlink(missing_ok=True)
        store.put(record)

    return Pair(ours, plainly, times=40)


def _reading(root: Path) -> Pair:
    write_records(root, 200)
    store = Store(root)
    return Pair(store.results, lambda: [read_record(path) for path in store.paths()])


def _nothing_to_do() -> Pair:
    return Pair(recorded_run, partial(recorded_run, torch_only=True), turns=2, timed=True)
