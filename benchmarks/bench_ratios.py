"""Ratios of the processor time of synflow-bench to that of the same work done plainly, measured in turns.

`make bench-check` fails if a ratio is above its limit. A limit is twice the ratio that was measured when it
was set, because the machines of CI are shared and processors differ.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import pytest
from bench_harness import COMPRESSIONS, cells_for, recorded_run, suite_of
from bench_pruning import Pruning
from bench_selection import ours as with_ours
from bench_selection import scores, with_kthvalue
from bench_training_step import NETWORKS, RECIPE, SHAPE, batch_of, masked_step, trainings
from conventional import network, synflow_masks
from synthetic import write_records

from synflow_bench import prune
from synflow_bench.execution import make_plan
from synflow_bench.host import Host
from synflow_bench.records import Store, read_record
from synflow_bench.suites import Cell
from synflow_bench.training import BatchedStep, TrainingStep

Work = Callable[[], object]


@dataclass(frozen=True)
class Pair:
    """Two implementations of one task, each called `times` times in each of `turns` turns.

    The task is `timed` if it returns its processor seconds itself, because other processes do it.
    """

    ours: Work
    plain: Work
    times: int = 1
    turns: int = 7
    timed: bool = False

    def ratio(self) -> float:
        """Return our least processor time over that of the plain implementation."""
        both = [(self._seconds(self.ours), self._seconds(self.plain)) for _ in range(self.turns + 1)]
        ours, plain = zip(*both[not self.timed :], strict=True)  # the first turn warms up
        return float(min(ours) / min(plain))

    def _seconds(self, work: Work) -> float:
        if self.timed:
            return float(work())  # type: ignore[arg-type]
        started = time.process_time()
        for _ in range(self.times):
            work()
        return time.process_time() - started


def check(pair: Pair, limit: float) -> float:
    """Return the ratio of `pair`; raise `AssertionError` where it is above `limit` twice in a row."""
    ratio = pair.ratio()
    if ratio > limit:
        ratio = min(ratio, pair.ratio())
    assert ratio <= limit, f"{ratio:.3g} times the plain way's processor time, where the limit is {limit:g}"
    return ratio


def masks(_: Path) -> Pair:
    return Pair(masked_step("gradients and weights"), masked_step("forward pass"), times=100)


def networks_in_one_batch(_: Path) -> Pair:
    batch, batched = batch_of(RECIPE, SHAPE), BatchedStep(trainings())
    alone = [TrainingStep.of(training) for training in trainings()]
    return Pair(lambda: batched([batch] * NETWORKS), lambda: [step([batch]) for step in alone], times=20)


def largest(_: Path) -> Pair:
    given = scores(14, 100_000)
    return Pair(partial(with_ours, *given), partial(with_kthvalue, *given), times=5)


def synflow(_: Path) -> Pair:
    model, shape = network(), (1, 28, 28)
    names = [name for name, parameter in model.named_parameters() if parameter.dim() > 1]
    ours = partial(prune, model, "synflow[rounds=20]", compression=10, input_shape=shape)
    return Pair(ours, partial(synflow_masks, model, names, shape, 10, 20), times=3)


def synflow_of_images(_: Path) -> Pair:
    pruning = Pruning("synflow", "lottery/resnet20", rounds=50)
    return Pair(pruning.by_the_harness, pruning.by_the_formula, turns=2)


def planning(root: Path) -> Pair:
    host, suite, store = Host.load(), suite_of(2000), Store(root)
    (setting,), pruners = suite.settings, {c.pruner.label: c.pruner for c in cells_for(suite, host)}

    def plainly() -> None:
        for pruner, compression, seed in product(pruners.values(), COMPRESSIONS, suite.seeds):
            store.path(Cell(setting=setting, pruner=pruner, compression=compression, seed=seed)).exists()

    return Pair(lambda: make_plan(cells_for(suite, host), host, store, root), plainly)


def writing(root: Path) -> Pair:
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


def reading(root: Path) -> Pair:
    write_records(root, 200)
    store = Store(root)
    return Pair(store.results, lambda: [read_record(path) for path in store.paths()])


def nothing_to_do(_: Path) -> Pair:
    return Pair(recorded_run, partial(recorded_run, torch_only=True), turns=2, timed=True)


LIMITS = {
    "training step with masks / masks in the forward pass": (masks, 1.7),
    "step of eight networks in one batch / one by one": (networks_in_one_batch, 0.95),
    "k largest of 1.4 million / kthvalue": (largest, 0.37),
    "synflow, 20 rounds, fc / the formula": (synflow, 2.1),
    "synflow, 50 rounds, lottery/resnet20 / the formula": (synflow_of_images, 1.0),
    "planning a cell / building it and looking for its file": (planning, 0.38),
    "writing a record / write and fsync": (writing, 7.6),
    "reading results / whole records": (reading, 0.46),
    "a run with everything recorded / loading torch": (nothing_to_do, 2.4),
}


@pytest.mark.parametrize("name", LIMITS)
def bench_ratio(name: str, one_thread: None, tmp_path: Path, timed: bool) -> None:
    make, limit = LIMITS[name]
    pair = make(tmp_path)
    if timed:
        print(f"{check(pair, limit):8.3f}, at most {limit:<5g} {name}")
    else:
        pair.ours(), pair.plain()
