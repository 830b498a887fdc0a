"""The training loop: the order of data, the schedule, evaluations and checkpoints, alone or in a batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isnan, prod
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from synflow_bench.data import Augmentation
from synflow_bench.records import Engine, Epoch
from synflow_bench.suites import Recipe
from synflow_bench.training.batched import BatchedStep, is_batchable, is_exact
from synflow_bench.training.data import LoadedSplit
from synflow_bench.training.step import Batch, MaskedWeights, Precision, Step, TrainingStep, learning_rate

T = TypeVar("T")

OnEpoch = Callable[[Epoch], None]

MAX_BATCHED = 8
"""The most networks in one batch: more are hardly faster."""


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
        checkpoint: A checkpoint to save during the training.
        seed: The seed of layers that draw random numbers, such as dropout.
    """

    model: nn.Module
    masks: Mapping[str, Tensor]
    recipe: Recipe
    examples: TrainingData
    streams: Streams
    on_epoch: OnEpoch = lambda _: None
    first_step: int = 0
    checkpoint: Checkpoint | None = None
    seed: int = 0


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


def train_batch(trainings: Sequence[Training]) -> list[Trained]:
    """Train networks of one recipe on data of one size; the result of each does not depend on the others.

    Args:
        trainings: One training, or several for which `can_batch` holds.

    Raises:
        SuiteError: The recipe needs a feature that the device does not have.
    """
    started = time.perf_counter()
    engine: Engine = "eager" if trainings[0].recipe.compile == "no" else "compiled"
    if is_batched(trainings[0]):
        engine, step = "stacked", BatchedStep(trainings)
        try:
            trained = _drive(trainings, step)
        finally:
            step.release()
    else:
        trained = [_train_alone(training) for training in trainings]
    seconds = (time.perf_counter() - started) / len(trainings)
    return [replace(each, engine=engine, seconds=seconds) for each in trained]


def is_batched(training: Training) -> bool:
    """Return True if a training uses the batched step, even as the only one in its batch."""
    device, recipe = next(training.model.parameters()).device, training.recipe
    plain = recipe.precision == "fp32" and recipe.compile == "no"
    return device.type == "cpu" and plain and is_batchable(training.model)


def can_batch(training: Training) -> bool:
    """Return True if up to `MAX_BATCHED` trainings like this one give the same bits in one batch as alone."""
    examples, size = training.examples.train, training.recipe.batch_size
    batch_sizes = {min(size, len(examples)), len(examples) % size or size}
    return (
        is_batched(training)
        and examples.resident
        and torch.get_num_threads() == 1
        and all(is_exact(training.model, (batch, *examples.shape), MAX_BATCHED) for batch in batch_sizes)
    )


def _train_alone(training: Training) -> Trained:
    torch.manual_seed(training.seed)
    return _drive([training], TrainingStep.of(training))[0]


def _drive(trainings: Sequence[Training], step: Step) -> list[Trained]:
    """Run the steps of trainings of equal length side by side."""
    loops = [_loop(training, masked) for training, masked in zip(trainings, step.masked, strict=True)]
    losses: Sequence[Tensor | None] = [None] * len(loops)
    while True:
        results = [_advance(each, loss) for each, loss in zip(loops, losses, strict=True)]
        batches = [result for result in results if isinstance(result, Batch)]
        if not batches:
            return [result for result in results if isinstance(result, Trained)]
        losses = step(batches)


_Loop = Generator[Batch, Tensor, Trained]
"""The loop of one training: it yields the batch of each step and receives its loss."""


def _advance(loop: _Loop, loss: Tensor | None) -> Batch | Trained:
    try:
        return next(loop) if loss is None else loop.send(loss)
    except StopIteration as end:
        trained: Trained = end.value
        return trained


def _loop(training: Training, masked: MaskedWeights) -> _Loop:
    """Run a training, except for its steps, which the caller computes.

    Within an epoch nothing waits for the device. After each epoch the network is evaluated, and removed
    weights are checked to be zero.
    """
    model, recipe, examples = training.model, training.recipe, training.examples
    precision = Precision.of(recipe, next(model.parameters()).device)
    done = _skip_epochs(training)
    curve, final = [], evaluate(model, examples.test, precision)
    curve.append(_point(done, 0.0, None, _validate(model, examples, precision), final))
    training.on_epoch(curve[-1])
    for epoch in range(done + 1, recipe.epochs + 1):
        lr, loss = yield from _epoch(training, epoch)
        if not isnan(loss):
            masked.check()
        final = evaluate(model, examples.test, precision)
        curve.append(_point(epoch, lr, loss, _validate(model, examples, precision), final))
        training.on_epoch(curve[-1])
    diverged = any(point.train_loss is None for point in curve[1:])
    return Trained(tuple(curve), final, diverged)


def _skip_epochs(training: Training) -> int:
    """Draw and discard the orders of the epochs before the first step; return the number of these epochs."""
    images = len(training.examples.train)
    steps = steps_per_epoch(images, training.recipe.batch_size)
    done = training.first_step // steps if training.first_step else 0
    for _ in range(done):
        torch.randperm(images, generator=training.streams.data)
    return done


def _epoch(training: Training, epoch: int) -> Generator[Batch, Tensor, tuple[float, float]]:
    """Return the last learning rate and the mean loss of an epoch; the loss is not finite if it diverged."""
    recipe, examples, streams = training.recipe, training.examples.train, training.streams
    training.model.train()
    change = training.examples.augmentation if recipe.augment else None
    order = torch.randperm(len(examples), generator=streams.data)
    steps = steps_per_epoch(len(examples), recipe.batch_size)
    start = (epoch - 1) * steps
    first = max(training.first_step, start)
    order = order[(first - start) * recipe.batch_size :]
    batches = examples.shuffled(recipe.batch_size, order, change, streams.augment)
    if training.checkpoint is not None:
        batches = training.checkpoint.watch(training.model, batches, first)
    total, seen, lr = torch.zeros((), device=examples.labels.device), 0, 0.0
    for index, (inputs, labels) in enumerate(batches, start=first):
        lr = learning_rate(recipe, index, steps)
        loss = yield Batch(inputs, labels, lr)
        total.add_(loss, alpha=len(labels))
        seen += len(labels)
    return lr, float(total) / seen


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Count the optimizer steps of an epoch: a last batch of a single example is left out.

    Example:
        >>> steps_per_epoch(50_000, 128), steps_per_epoch(65, 16)
        (391, 4)
    """
    full, rest = divmod(examples, batch_size)
    return full + (rest > 1)


def _validate(model: nn.Module, examples: TrainingData, precision: Precision) -> float | None:
    return None if examples.validation is None else evaluate(model, examples.validation, precision).top1


def _point(epoch: int, lr: float, loss: float | None, val_top1: float | None, test: Evaluation) -> Epoch:
    return Epoch(
        epoch=epoch, lr=lr, train_loss=loss, val_top1=val_top1, test_top1=test.top1, test_loss=test.loss
    )


_BATCH = 1000
_NUMBERS = _BATCH * 3 * 64 * 64
"""The numbers in a thousand color images of 64x64: batches of larger images have fewer examples."""


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
    for inputs, labels in split.batches(max(1, min(_BATCH, _NUMBERS // prod(split.shape)))):
        with precision.autocast():
            logits = model(precision.inputs(inputs))
        logits = logits.float()
        classes = logits.shape[1]
        ranked = logits.topk(min(5, classes), dim=1).indices == labels[:, None]
        parts = ranked[:, 0].sum(), ranked.sum(), cross_entropy(logits, labels, reduction="sum")
        sums += torch.stack([part.to(sums.dtype) for part in parts])
    top1, top5, loss = (sums / len(split)).tolist()
    return Evaluation(top1, top5 if classes > 5 else None, loss)


class Checkpoint:
    """The parameters and buffers of a network after `step` optimizer steps of a training.

    The state of the optimizer is not part of it.
    """

    def __init__(self, step: int) -> None:
        self.step = step
        self._state: dict[str, Tensor] = {}

    def watch(self, model: nn.Module, batches: Iterable[T], first_step: int) -> Iterator[T]:
        """Yield the same batches, and save the state of `model` before that of the checkpoint's step."""
        for step, batch in enumerate(batches, start=first_step):
            if step == self.step:
                self._state = {name: tensor.detach().clone() for name, tensor in _tensors(model).items()}
            yield batch

    @torch.no_grad()
    def restore(self, model: nn.Module) -> None:
        """Copy the saved parameters and buffers into `model`.

        Raises:
            RuntimeError: No training has passed the step.
        """
        if not self._state:
            raise RuntimeError(f"no training has passed step {self.step}")
        for name, tensor in _tensors(model).items():
            tensor.copy_(self._state[name])


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}
