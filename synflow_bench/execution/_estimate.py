"""How long the missing cells of a plan will take, from what was measured and nothing else."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import islice
from pathlib import Path
from statistics import fmean

import torch

from synflow_bench.errors import HandledError, RecordError
from synflow_bench.execution._bench import make_bench
from synflow_bench.execution._executor import Resources
from synflow_bench.execution._plan import Plan
from synflow_bench.protocols import Bench, run_cell
from synflow_bench.records import Record, Store, read_record
from synflow_bench.suites import Revisions, Setting, Singleshot, dense_cell
from synflow_bench.training import LoadedData, LoadedSplit, resolve_devices

STEPS = 8
"""Training steps that are timed where no cell of a setting is recorded."""

RECORDS = 200
"""How many records of a setting are read: enough for a mean."""


@dataclass(frozen=True)
class Estimate:
    """Seconds that a cell of `setting` takes one worker, and how they were found; None where that failed."""

    setting: Setting
    cells: int
    seconds: float | None
    source: str


def estimate(plan: Plan, store: Store, resources: Resources) -> list[Estimate]:
    """The time of the missing cells of `plan`, setting by setting.

    It is the mean over the recorded cells of a setting where there are any, whatever their pruner; else it is
    worked out from a few training steps in this process, and pruning comes on top.
    """
    settings = {cell.setting.digest: cell.setting for cell in plan.missing}
    cells = Counter(cell.setting.digest for cell in plan.missing)
    bench = cache(partial(_bench, resources))
    return [_estimate(setting, cells[digest], store, bench) for digest, setting in settings.items()]


def _bench(resources: Resources) -> Bench:
    device = str(resolve_devices(resources.device)[0])
    return make_bench(resources.data_root, device, resources.threads, resources.plugins)


def _estimate(setting: Setting, cells: int, store: Store, bench: Callable[[], Bench]) -> Estimate:
    recorded = list(islice(_seconds_recorded(setting, store), RECORDS))
    if recorded:
        return Estimate(setting, cells, fmean(recorded), f"the mean of {len(recorded)} recorded")
    try:
        seconds = time_training(setting, bench())
    except HandledError as error:
        return Estimate(setting, cells, None, f"not measured: {error}")
    return Estimate(setting, cells, seconds, f"from {STEPS} timed training steps, without pruning")


def _seconds_recorded(setting: Setting, store: Store) -> Iterator[float]:
    folder = store.records / setting.dataset / setting.model.name  # other recipes have theirs there too
    for path in sorted(folder.rglob("*.json")):
        record = _readable(path)
        if record and record.timing and record.cell.setting.digest == setting.digest:
            yield record.timing.total_seconds


def _readable(path: Path) -> Record | None:
    try:
        return read_record(path)
    except RecordError:
        return None


class TimingError(HandledError):
    """A setting whose training cannot be timed, because it does not run."""


def time_training(setting: Setting, bench: Bench) -> float:
    """Seconds that the training of `setting` takes, evaluations included.

    Two epochs are run over a part of the data as long as `STEPS` batches, and the second, when all is warm,
    is timed. Raises `TimingError` where that does not work.
    """
    marks: list[float] = []
    share = _share(setting, bench)
    cell = dense_cell(_short(setting), 0, Revisions())
    record = run_cell(cell, _Sample.of(bench, share), lambda _: marks.append(time.perf_counter()))
    if record.error:
        raise TimingError(record.error.message)
    before, after = marks[-2:]
    return (after - before) / share * setting.total_epochs


def _share(setting: Setting, bench: Bench) -> float:
    """The part of the data that gives `STEPS` batches for training."""
    recipe = setting.recipe
    training = len(bench.data(setting.dataset).train) * (1 - recipe.validation_fraction)
    return min(1.0, STEPS * recipe.batch_size / training)


def _short(setting: Setting) -> Setting:
    recipe = setting.recipe.model_copy(update={"epochs": 2, "warmup_epochs": 0})
    return setting.model_copy(update={"recipe": recipe, "protocol": Singleshot()})


@dataclass(frozen=True)
class _Sample(Bench):
    """A bench that gives a part of each data set."""

    whole: Bench = field(kw_only=True)
    share: float = field(kw_only=True)

    @classmethod
    def of(cls, whole: Bench, share: float) -> _Sample:
        place = (whole.host, whole.data_root, whole.device, whole.threads)
        return cls(*place, whole=whole, share=share)

    def data(self, name: str) -> LoadedData:
        data = self.whole.data(name)
        return replace(data, train=_part(data.train, self.share), test=_part(data.test, self.share))


def _part(split: LoadedSplit, share: float) -> LoadedSplit:
    return split.take(torch.arange(max(1, round(share * len(split)))))
