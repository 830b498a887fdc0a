"""The training loop: the order of data, the schedule, evaluations and snapshots, alone or in a batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isnan, prod

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from synflow_bench.data import Augmentation
from synflow_bench.records import Engine, Epoch
from synflow_bench.suites import Recipe
from synflow_bench.training import vmapped
from synflow_bench.training.batched import LEAST, BatchedStep, Trial, is_batchable, is_exact
from synflow_bench.training.data import LoadedSplit
from synflow_bench.training.graphed import graphed
from synflow_bench.training.mask_changes import MaskChanges
from synflow_bench.training.snapshot import (
    LoopState,
    RewindPoint,
    Snapshot,
    SnapshotKeeper,
    restore_generators,
    restore_model,
)
from synflow_bench.training.step import (
    Batch,
    MaskedWeights,
    Precision,
    Step,
    TrainingStep,
    learning_rate,
    state_names,
)
from synflow_bench.training.vmapped import VmappedStep, is_small, is_vmappable, is_vmapped_alike

OnEpoch = Callable[[Epoch], None]

MAX_BATCHED = 8
"""The most networks in one batch on a CPU: more are hardly faster."""


def most_batched(kind: str) -> int:
    """Return the most networks in one batch on a kind of device, such as `cuda`."""
    return LEAST.get(kind, MAX_BATCHED)


@dataclass(frozen=True)
class TrainingData:
    """The splits of a training, on the device; `validation` may be absent."""

    train: LoadedSplit
    validation: LoadedSplit | None
    test: LoadedSplit
    augmentation: Augmentation | None


@dataclass(frozen=True)
class Streams:
    """The random generators of the order of the data and of its augmentation, both on the CPU."""

    data: torch.Generator
    augment: torch.Generator


@dataclass(frozen=True)
class Training:
    """One training of one network.

    Attributes:
        model: The network, trained in place.
        masks: Boolean masks by parameter name; weights outside them stay zero.
        recipe: The hyperparameters.
        examples: The data.
        streams: The generators of the data's order and augmentation.
        on_epoch: Called with every point of the curve, the one before training included.
        first_step: The optimizer step to start from, within the schedule and the order of the data.
        rewind: A state of the network to save during the training, unless it is saved already.
        seed: The seed of layers that draw random numbers, such as dropout.
        resume: The state to continue from, of an equal training that was interrupted.
        changes: The masks if they change in the training; they begin as `masks`.
        alone: True if the ordinary step is taken, also where such networks are trained in batches.
    """

    model: nn.Module
    masks: Mapping[str, Tensor]
    recipe: Recipe
    examples: TrainingData
    streams: Streams
    on_epoch: OnEpoch = lambda _: None
    first_step: int = 0
    rewind: RewindPoint | None = None
    seed: int = 0
    resume: Snapshot | None = None
    changes: MaskChanges | None = None
    alone: bool = False

    @property
    def seen(self) -> int:
        """The examples of all its batches, one that comes in every epoch once per epoch."""
        batch_size, epochs = self.recipe.batch_size, self.recipe.epochs
        return examples_seen(len(self.examples.train), batch_size, epochs, self.first_step)

    @property
    def place(self) -> Hashable:
        """The recipe and the step that comes next; trainings in one batch have the same.

        A training that changes its masks is in no batch with another.
        """
        position = self.resume and (self.resume.position.epoch, self.resume.position.batches)
        return self.recipe, self.first_step, position, None if self.changes is None else id(self)


@dataclass(frozen=True)
class Trained:
    """The result of a training.

    Attributes:
        curve: The points from before training to the last epoch.
        final: The last evaluation on the test set.
        diverged: True if the loss of an epoch was not finite.
        engine: The implementation of the steps, on which the rounding of sums depends.
        seconds: The wall time; a share of it, in a batch.
    """

    curve: tuple[Epoch, ...]
    final: Evaluation
    diverged: bool
    engine: Engine = "eager"
    seconds: float = field(default=0.0, compare=False)


def train(training: Training) -> Trained:
    """Train one network in place.

    Raises:
        SuiteError: The recipe needs a feature that the device does not have.
    """
    return train_batch([training])[0]


def train_batch(trainings: Sequence[Training], keeper: SnapshotKeeper | None = None) -> list[Trained]:
    """Train networks of one recipe on data of one size; the result of each does not depend on the others.

    Args:
        trainings: One training, or several of one `place` for which `can_batch` holds.
        keeper: Takes snapshots of the trainings.

    Raises:
        SuiteError: The recipe needs a feature that the device does not have.
    """
    started = time.perf_counter()
    batched = _batched_step(trainings[0])
    if batched is not None:
        step = batched(trainings)
        try:
            trained = _drive(trainings, graphed(step, trainings[0]), keeper)
        finally:
            step.release()
    else:
        trained = [_train_alone(training, keeper) for training in trainings]
    seconds = (time.perf_counter() - started) / len(trainings)
    return [
        replace(each, seconds=seconds + _seconds_before(training))
        for each, training in zip(trained, trainings, strict=True)
    ]


def _seconds_before(training: Training) -> float:
    return training.resume.position.seconds if training.resume else 0.0


def can_resume(training: Training, snapshot: Snapshot) -> bool:
    """Return True if a snapshot has a place of such a training, and the state of its optimizer.

    Without this check the training would go on from there, with another result. A tensor that is missing
    elsewhere, or has another shape, raises an error when it is used.
    """
    position, recipe, start = snapshot.position, training.recipe, training.first_step
    steps = steps_per_epoch(len(training.examples.train), recipe.batch_size)
    first, before = start // max(1, steps), (position.epoch - 1) * steps
    step = max(start, before) + position.batches
    names = {name.rpartition("/")[2] for name in snapshot.part("optimizer")}
    # A change of masks may take the place of a step.
    has_stepped = step > start and training.changes is None
    return (
        first < position.epoch <= recipe.epochs
        and [point.epoch for point in position.curve] == [*range(first, position.epoch)]
        and step < before + steps
        and position.seen == position.batches * recipe.batch_size
        and names in ([state_names(recipe)] if has_stepped else [state_names(recipe), set()])
    )


def is_batched(training: Training) -> bool:
    """Return True if a training uses the batched step, even as the only one in its batch."""
    return _batched_step(training) is not None


def is_filled_up(training: Training) -> bool:
    """Return True if a training uses a batched step that takes as much memory alone as in a batch."""
    return next(training.model.parameters()).device.type in LEAST and is_batched(training)


def can_batch(training: Training) -> bool:
    """Return True if `most_batched` such trainings, or fewer, give the same bits in one batch as alone."""
    step = _tried_step(training)
    if step is None or not training.examples.train.resident or torch.get_num_threads() > 1:
        return False
    kind = next(training.model.parameters()).device.type
    return step is VmappedStep or kind in LEAST or _passes(is_exact, training)


def _batched_step(training: Training) -> type[BatchedStep | VmappedStep] | None:
    """Return the step that trains networks like this one in batches, even if there is only one; or None.

    It is None also where the trial of that step finds no memory.
    """
    try:
        return _tried_step(training)
    except torch.OutOfMemoryError:
        return None


def _tried_step(training: Training) -> type[BatchedStep | VmappedStep] | None:
    model, recipe = training.model, training.recipe
    kind = next(model.parameters()).device.type
    if training.alone or training.changes is not None or recipe.precision != "fp32" or recipe.compile != "no":
        return None
    if kind in {"cpu", "cuda"} and is_batchable(model):
        return BatchedStep if kind not in LEAST or _passes(is_exact, training) else None
    if kind not in vmapped.DEVICES or recipe.channels_last or not is_vmappable(model):
        return None
    small = _passes(is_small, training)
    return VmappedStep if small and _passes(is_vmapped_alike, training) else None


def _passes(trial: Trial, training: Training) -> bool:
    most = most_batched(next(training.model.parameters()).device.type)
    return all(trial(training.model, each, most) for each in _batches_of(training))


def _batches_of(training: Training) -> set[tuple[int, ...]]:
    """Return the shapes of the batches of an epoch; the last may be smaller."""
    examples, size = training.examples.train, training.recipe.batch_size
    return {(each, *examples.shape) for each in (min(size, len(examples)), len(examples) % size or size)}


def _train_alone(training: Training, keeper: SnapshotKeeper | None) -> Trained:
    torch.manual_seed(training.seed)
    return _drive([training], graphed(TrainingStep.of(training), training), keeper)[0]


def _drive(trainings: Sequence[Training], step: Step, keeper: SnapshotKeeper | None) -> list[Trained]:
    """Run the steps of trainings of equal length side by side."""
    started = time.perf_counter()
    snapshots = [training.resume for training in trainings if training.resume]
    if snapshots:
        for training, snapshot in zip(trainings, snapshots, strict=True):
            restore_model(training, snapshot)
        step.restore([snapshot.part("optimizer") for snapshot in snapshots])
    states = [LoopState.of(training) for training in trainings]
    loops = [_loop(*each) for each in zip(trainings, step.masked, states, strict=True)]
    sums = [state.loss for state in states]
    while True:
        results = [_advance(each) for each in loops]
        batches = [result for result in results if isinstance(result, Batch)]
        if not batches:
            return [replace(each, engine=step.engine) for each in results if isinstance(each, Trained)]
        if snapshots:
            restore_generators(snapshots.pop(), states[0].loss.device)
            snapshots.clear()
        elif keeper is not None and keeper.is_due(epoch_begins=states[0].batches == 0):
            seconds = (time.perf_counter() - started) / len(trainings)
            each = zip(trainings, states, step.states(), strict=True)
            keeper.keep([(t, s.snapshot(t, o, seconds + _seconds_before(t))) for t, s, o in each])
        torch._foreach_add_(sums, list(step(batches)), alpha=len(batches[0].labels))


_Loop = Generator[Batch, None, Trained]
"""The loop of one training: it yields the batch of each step, whose loss is then in the state."""


def _advance(loop: _Loop) -> Batch | Trained:
    try:
        return next(loop)
    except StopIteration as end:
        trained: Trained = end.value
        return trained


def _loop(training: Training, masked: MaskedWeights, state: LoopState) -> _Loop:
    """Run a training from `state` on, except for its steps, which the caller computes.

    Within an epoch nothing waits for the device. After each epoch the network is evaluated, and removed
    weights are checked to be zero.
    """
    model, recipe, examples = training.model, training.recipe, training.examples
    precision = Precision.of(recipe, next(model.parameters()).device)

    def end_epoch(epoch: int, lr: float, loss: float | None) -> Evaluation:
        test = evaluate(model, examples.test, precision)
        held_out = examples.validation
        state.end_epoch(
            Epoch(
                epoch=epoch,
                lr=lr,
                train_loss=loss,
                val_top1=None if held_out is None else evaluate(model, held_out, precision).top1,
                test_top1=test.top1,
                test_loss=test.loss,
            )
        )
        training.on_epoch(state.curve[-1])
        return test

    if not state.curve:
        final = end_epoch(_skip_epochs(training), 0.0, None)
        if training.changes is not None:
            training.changes.count(training.first_step)
    while state.epoch <= recipe.epochs:
        yield from _epoch(training, state)
        loss = float(state.loss) / state.seen
        if not isnan(loss):
            masked.check()
        final = end_epoch(state.epoch, state.lr, loss)
    diverged = any(point.train_loss is None for point in state.curve[1:])
    return Trained(tuple(state.curve), final, diverged)


def _skip_epochs(training: Training) -> int:
    """Draw and discard the orders of the epochs before the first step; return the number of these epochs."""
    images = len(training.examples.train)
    steps = steps_per_epoch(images, training.recipe.batch_size)
    done = training.first_step // steps if training.first_step else 0
    for _ in range(done):
        torch.randperm(images, generator=training.streams.data)
    return done


def _epoch(training: Training, state: LoopState) -> Generator[Batch, None, None]:
    """Train what is left of the epoch; the sum of losses is not finite if it diverged."""
    recipe, examples, streams = training.recipe, training.examples.train, training.streams
    training.model.train()
    state.begin_epoch(training)
    change = training.examples.augmentation if recipe.augment else None
    order = torch.randperm(len(examples), generator=streams.data)
    steps = steps_per_epoch(len(examples), recipe.batch_size)
    start = (state.epoch - 1) * steps
    first = max(training.first_step, start)
    order = order[(first - start) * recipe.batch_size :]
    batches = examples.shuffled(recipe.batch_size, order, change, streams.augment, skip=state.batches)
    next_step = first + state.batches
    if training.rewind is not None:
        batches = training.rewind.watch(training.model, batches, next_step)
    for index, (inputs, labels) in enumerate(batches, start=next_step):
        lr = learning_rate(recipe, index, steps)
        yield Batch(inputs, labels, lr, index)
        state.batches, state.seen, state.lr = state.batches + 1, state.seen + len(labels), lr


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Count the optimizer steps of an epoch: a last batch of a single example is left out.

    Example:
        >>> steps_per_epoch(50_000, 128), steps_per_epoch(65, 16)
        (391, 4)
    """
    full, rest = divmod(examples, batch_size)
    return full + (rest > 1)


def examples_seen(examples: int, batch_size: int, epochs: int, first_step: int = 0) -> int:
    """Count the examples of all batches of a training, one that comes in every epoch once per epoch.

    Example:
        >>> examples_seen(65, batch_size=16, epochs=2), examples_seen(65, 16, epochs=2, first_step=5)
        (128, 48)
    """
    per_epoch = examples - (examples % batch_size == 1 and batch_size > 1)
    done, steps = divmod(first_step, max(1, steps_per_epoch(examples, batch_size)))
    left = (epochs - done) * per_epoch - min(per_epoch, steps * batch_size)
    return max(0, left)


_BATCHES = {"cuda": 4000}
_BATCH = 1000
"""The examples that are evaluated at once, on a kind of device and on all others."""
_NUMBERS = 3 * 64 * 64
"""The numbers in a color image of 64x64: batches of larger images have fewer examples."""


@dataclass(frozen=True)
class Evaluation:
    """Accuracy and mean cross-entropy of a network on a split.

    Attributes:
        top1: The share of examples whose label is ranked first.
        top5: The share of examples whose label is among the first five; None with five classes or fewer.
        loss: The mean loss.
    """

    top1: float
    top5: float | None
    loss: float


@torch.no_grad()
def evaluate(model: nn.Module, split: LoadedSplit, precision: Precision) -> Evaluation:
    """Evaluate `model` in eval mode, with one synchronization with the device for the whole split."""
    model.eval()
    sums = torch.zeros(3, dtype=precision.sums, device=split.labels.device)
    classes = 0
    most = _BATCHES.get(precision.device_type, _BATCH)
    for inputs, labels in split.batches(max(1, min(most, most * _NUMBERS // prod(split.shape)))):
        with precision.autocast():
            logits = model(precision.inputs(inputs))
        logits = logits.float()
        classes = logits.shape[1]
        ranked = logits.topk(min(5, classes), dim=1).indices == labels[:, None]
        parts = ranked[:, 0].sum(), ranked.sum(), cross_entropy(logits, labels, reduction="sum")
        sums += torch.stack([part.to(sums.dtype) for part in parts])
    top1, top5, loss = (sums / len(split)).tolist()
    return Evaluation(top1, top5 if classes > 5 else None, loss)
