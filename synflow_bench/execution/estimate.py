"""Estimate how long the missing cells of a plan take, from records or from a short training."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import count as numbers_from
from itertools import islice, pairwise
from statistics import fmean

import torch

from synflow_bench.errors import HandledError, RecordError, count, one_line
from synflow_bench.execution.executor import Resources, make_context
from synflow_bench.execution.plan import Plan
from synflow_bench.protocols import WorkerContext, may_batch, run_cells
from synflow_bench.records import Store, read_record
from synflow_bench.suites import Cell, Revisions, Setting, dense_cell
from synflow_bench.training import LoadedData, resolve_devices, steps_per_epoch

_RECORDS = 200  # enough for a mean
_EPOCHS = 3  # the first one warms up
_FEWEST_EXAMPLES = 2  # batch normalization cannot train on one
_MOST_STEPS = 50
_GROWTH = 8
_SECONDS = 0.1  # shorter epochs are repeated, up to `_GROWTH` times as long
_STEP_SECONDS = 1.0  # a step of a few examples that takes longer is not repeated with the whole batch


@dataclass(frozen=True)
class TimeEstimate:
    """The expected time of the missing cells of one setting.

    Attributes:
        setting: The setting that the cells share.
        cells: The number of missing cells.
        seconds: The seconds of one cell on one worker (its share, in a batch); None if they are not known.
        source: The origin of the seconds, or the reason why they are not known.
    """

    setting: Setting
    cells: int
    seconds: float | None
    source: str


def estimate(
    plan: Plan, store: Store, resources: Resources, *, workers: int = 1, max_batched: int = 1
) -> list[TimeEstimate]:
    """Estimate the time of the missing cells of `plan`, setting by setting.

    An estimate is the mean over the recorded cells of the same setting, with any pruner. If there are none, a
    dense network is trained for a few steps in this process, and the time of a step is multiplied by the
    number of steps of a cell; pruning is not included.

    Args:
        plan: The plan, whose missing cells are considered.
        store: The recorded cells.
        resources: The device, the threads and the data folder of the run.
        workers: The number of workers that share the cells.
        max_batched: The number of networks that one worker trains in one batch, at most.
    """
    groups: dict[str, list[Cell]] = {}
    for cell in plan.missing:
        groups.setdefault(cell.setting.digest, []).append(cell)

    @cache
    def context() -> WorkerContext:
        device = str(resolve_devices(resources.device)[0])
        return make_context(replace(resources, checkpoints=None, keep=()), device)

    return [
        _from_records(cells, store)
        or _from_training(cells, context(), min(max_batched, -(-len(cells) // workers)))
        for cells in groups.values()
    ]


def _from_records(cells: Sequence[Cell], store: Store) -> TimeEstimate | None:
    seconds = list(islice(_recorded_seconds(cells[0].setting, store), _RECORDS))
    source = f"the mean of {count(len(seconds), 'recorded cell')}"
    return TimeEstimate(cells[0].setting, len(cells), fmean(seconds), source) if seconds else None


def _recorded_seconds(setting: Setting, store: Store) -> Iterator[float]:
    # Records of other recipes are there too.
    folder = store.records / setting.dataset_label / setting.model.name
    for path in sorted(folder.rglob("[!.]*.json")):
        try:
            record = read_record(path)
        except RecordError:
            continue
        if record.timing and record.cell.setting.digest == setting.digest:
            yield record.timing.total_seconds


def _from_training(cells: Sequence[Cell], worker: WorkerContext, models: int) -> TimeEstimate:
    setting, batch = cells[0].setting, cells[0].setting.recipe.batch_size
    examples, steps = min(_FEWEST_EXAMPLES, batch), 1
    try:
        data = worker.data(setting.dataset)
        models = models if models > 1 and may_batch(cells[0], worker) else 1
        setup, seconds = _time(setting, worker, examples, steps, models)
        # The time of a step is not proportional to its examples: a few of them tell little of a batch.
        while examples < batch and seconds * models < _STEP_SECONDS:
            examples = min(batch, _GROWTH * examples)
            setup, seconds = _time(setting, worker, examples, steps, models)
        while examples == batch and seconds * steps * models < _SECONDS and steps < _MOST_STEPS:
            steps = min(_MOST_STEPS, _GROWTH * steps)
            setup, seconds = _time(setting, worker, examples, steps, models)
    except Exception as error:  # a dataset or a network of a plugin may raise anything
        reason = one_line(error, with_type=False, first_line=True)
        return TimeEstimate(setting, len(cells), None, f"not known: {reason}")
    trained = len(data.train) - round(setting.recipe.validation_fraction * len(data.train))
    training = setting.total_epochs * steps_per_epoch(trained, batch) * seconds * batch / examples
    batched = f" of {models} models" if models > 1 else ""
    pruning = "" if all(cell.is_dense for cell in cells) else ", pruning not counted"
    source = f"from a short training{batched} timed now ({steps} x {examples} examples{pruning})"
    return TimeEstimate(setting, len(cells), setup + training, source)


def _time(setting: Setting, worker: WorkerContext, size: int, steps: int, models: int) -> tuple[float, float]:
    """Return the seconds of one cell besides training, and of one step with its share of the evaluations."""
    changes = {"epochs": _EPOCHS, "warmup_epochs": 0, "lr": 1e-6, "batch_size": size}
    recipe, name = setting.recipe.model_copy(update=changes), setting.dataset
    short = Setting(dataset=name, model=setting.model, recipe=recipe, pruning=setting.pruning)
    few = _few_examples(worker.data(name), size * steps, recipe.validation_fraction)
    cells = [dense_cell(short, seed, Revisions()) for seed in range(models)]
    ends: list[float] = []
    record = run_cells(cells, worker.with_data(name, few), lambda *_: ends.append(time.perf_counter()))[0]
    if record.timing is None:
        raise HandledError(record.error.message if record.error else record.status)
    epoch = min(after - before for before, after in pairwise(ends[models::models]))
    return record.timing.total_seconds - record.timing.train_seconds, epoch / steps / models


def _few_examples(data: LoadedData, trained: int, held_out: float) -> LoadedData:
    """Return data of which `trained` examples are left to train on, with test examples in proportion."""
    images = next(n for n in numbers_from(trained) if n - round(held_out * n) == trained)
    tested = max(1, round(images * len(data.test) / len(data.train)))
    train, test = (s.take(torch.arange(n) % len(s)) for s, n in ((data.train, images), (data.test, tested)))
    return replace(data, train=train, test=test)
