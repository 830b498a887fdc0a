"""The course of a training: everything but how a step is computed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from synflow_bench.data import Augmentation
from synflow_bench.records import Engine, Epoch
from synflow_bench.suites import Recipe
from synflow_bench.training.checkpoint import Checkpoint
from synflow_bench.training.data import LoadedSplit
from synflow_bench.training.evaluate import Evaluation, evaluate
from synflow_bench.training.masking import MaskedWeights
from synflow_bench.training.optimizers import learning_rate
from synflow_bench.training.precision import Precision

OnEpoch = Callable[[Epoch], None]


@dataclass(frozen=True)
class Streams:
    """Where the order of the data and its augmentation are drawn from; both on the CPU."""

    data: torch.Generator
    augment: torch.Generator


@dataclass(frozen=True)
class Examples:
    """What a training sees; `validation` may be absent."""

    train: LoadedSplit
    validation: LoadedSplit | None
    test: LoadedSplit
    augmentation: Augmentation | None


@dataclass(frozen=True)
class Trained:
    """The curve from before training to the last epoch, the last test evaluation, and the wall time.

    `engine` says how steps were computed, which decides how sums are rounded.
    """

    curve: tuple[Epoch, ...]
    final: Evaluation
    diverged: bool
    engine: Engine = "eager"
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class Training:
    """One training of one network: `model` is trained in place, weights outside `masks` stay zero.

    With a `first_step` it begins there, in the midst of the schedule and of the data's order, with a fresh
    optimizer. `checkpoint` is taken on the way. `seed` is for layers that draw for themselves.
    """

    model: nn.Module
    masks: Mapping[str, Tensor]
    recipe: Recipe
    examples: Examples
    streams: Streams
    on_epoch: OnEpoch = lambda _: None
    first_step: int = 0
    checkpoint: Checkpoint | None = None
    seed: int = 0


@dataclass(frozen=True)
class Batch:
    """What one optimizer step is made of: `inputs` (N, C, H, W), `labels` (N,), and the learning rate."""

    inputs: Tensor
    labels: Tensor
    lr: float


Course = Generator[Batch, Tensor, Trained]
"""A training that asks for one step after another and is given their losses."""


def course(training: Training, masked: MaskedWeights) -> Course:
    """All of a training but its steps: order of the data, schedule, evaluations, checks.

    Nothing waits for the device within an epoch. After each one the network is evaluated and removed
    weights are checked to be zero.
    """
    model, recipe, examples = training.model, training.recipe, training.examples
    precision = Precision.of(recipe, next(model.parameters()).device)
    done = _epochs_before(training)
    curve, final = [], evaluate(model, examples.test, precision)
    curve.append(_point(done, 0.0, None, _validate(model, examples, precision), final))
    training.on_epoch(curve[-1])
    for epoch in range(done + 1, recipe.epochs + 1):
        lr, loss = yield from _epoch(training, epoch)
        if loss == loss:
            masked.check()
        final = evaluate(model, examples.test, precision)
        curve.append(_point(epoch, lr, loss, _validate(model, examples, precision), final))
        training.on_epoch(curve[-1])
    diverged = any(point.train_loss is None for point in curve[1:])
    return Trained(tuple(curve), final, diverged)


def _epochs_before(training: Training) -> int:
    """The epochs that lie before the first step; their orders of the data are drawn and forgotten."""
    images = len(training.examples.train)
    steps = steps_per_epoch(images, training.recipe.batch_size)
    done = training.first_step // steps if training.first_step else 0
    for _ in range(done):
        torch.randperm(images, generator=training.streams.data)
    return done


def _epoch(training: Training, epoch: int) -> Generator[Batch, Tensor, tuple[float, float]]:
    """The last learning rate and the mean loss of an epoch; the loss is not finite where it diverged."""
    recipe, examples, streams = training.recipe, training.examples.train, training.streams
    training.model.train()
    change = training.examples.augmentation if recipe.augment else None
    order = torch.randperm(len(examples), generator=streams.data)
    steps = steps_per_epoch(len(examples), recipe.batch_size)
    first = max(training.first_step, (epoch - 1) * steps)
    order = order[(first - (epoch - 1) * steps) * recipe.batch_size :]
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
    """How many optimizer steps an epoch has: a last batch of a single example is left out."""
    full, rest = divmod(examples, batch_size)
    return full + (rest > 1)


def _validate(model: nn.Module, examples: Examples, precision: Precision) -> float | None:
    return None if examples.validation is None else evaluate(model, examples.validation, precision).top1


def _point(epoch: int, lr: float, loss: float | None, val_top1: float | None, test: Evaluation) -> Epoch:
    return Epoch(
        epoch=epoch, lr=lr, train_loss=loss, val_top1=val_top1, test_top1=test.top1, test_loss=test.loss
    )
