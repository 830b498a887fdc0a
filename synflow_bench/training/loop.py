"""Training a masked network by a recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from synflow_bench.data import Augmentation
from synflow_bench.records import Epoch
from synflow_bench.suites import Recipe
from synflow_bench.training.checkpoint import Checkpoint
from synflow_bench.training.data import LoadedSplit
from synflow_bench.training.evaluate import Evaluation, evaluate
from synflow_bench.training.masking import MaskedWeights
from synflow_bench.training.optimizers import build_optimizer, learning_rate, set_learning_rate
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
    """The curve from before training to the last epoch, and the last test evaluation."""

    curve: tuple[Epoch, ...]
    final: Evaluation
    diverged: bool


def train(
    model: nn.Module,
    masks: Mapping[str, Tensor],
    recipe: Recipe,
    examples: Examples,
    streams: Streams,
    on_epoch: OnEpoch = lambda _: None,
    *,
    first_step: int = 0,
    checkpoint: Checkpoint | None = None,
) -> Trained:
    """Train `model` in place; weights outside `masks` are zero before, during and after.

    Nothing waits for the device within an epoch. After each one the network is evaluated and removed
    weights are checked to be zero. With a `first_step` the training begins there, in the midst of the
    schedule and of the data's order, with a fresh optimizer. `checkpoint` is taken on the way.
    """
    device = next(model.parameters()).device
    precision = Precision.of(recipe, device)
    precision.lay_out(model)
    masked = MaskedWeights(model, masks)
    optimizer = build_optimizer(recipe, model.parameters())
    step = TrainingStep(model, optimizer, masked, recipe, precision)
    done = first_step // steps_per_epoch(len(examples.train), recipe.batch_size) if first_step else 0
    for _ in range(done):
        torch.randperm(len(examples.train), generator=streams.data)
    curve, final = [], evaluate(model, examples.test, precision)
    curve.append(_point(done, 0.0, None, _validate(model, examples, precision), final))
    on_epoch(curve[-1])
    for epoch in range(done + 1, recipe.epochs + 1):
        loss = _train_epoch(step, epoch, examples, streams, first_step, checkpoint)
        if loss == loss:
            masked.check()
        final = evaluate(model, examples.test, precision)
        lr = optimizer.param_groups[0]["lr"]
        curve.append(_point(epoch, lr, loss, _validate(model, examples, precision), final))
        on_epoch(curve[-1])
    diverged = any(point.train_loss is None for point in curve[1:])
    return Trained(tuple(curve), final, diverged)


@dataclass(frozen=True)
class TrainingStep:
    """One step of one recipe: forward, backward, mask gradients, clip, optimize, mask weights."""

    model: nn.Module
    optimizer: Optimizer
    masked: MaskedWeights
    recipe: Recipe
    precision: Precision

    def __call__(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Return the batch's mean loss, still on the device."""
        with self.precision.autocast():
            logits = self.model(self.precision.laid_out(inputs))
        loss = cross_entropy(logits.float(), labels, label_smoothing=self.recipe.label_smoothing)
        loss.backward()  # type: ignore[no-untyped-call]
        self.masked.mask_gradients()
        if self.recipe.gradient_clip is not None:
            clip_grad_norm_(self.model.parameters(), self.recipe.gradient_clip)
        self.optimizer.step()
        self.masked.mask_weights()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()


def _train_epoch(
    step: TrainingStep,
    epoch: int,
    examples: Examples,
    streams: Streams,
    first_step: int,
    checkpoint: Checkpoint | None,
) -> float:
    """The mean training loss of the epoch; not finite where the training diverged."""
    recipe, train = step.recipe, examples.train
    step.model.train()
    change = examples.augmentation if recipe.augment else None
    order = torch.randperm(len(train), generator=streams.data)
    steps = steps_per_epoch(len(train), recipe.batch_size)
    first = max(first_step, (epoch - 1) * steps)
    order = order[(first - (epoch - 1) * steps) * recipe.batch_size :]
    total, seen = torch.zeros((), device=train.labels.device), 0
    batches = train.shuffled(recipe.batch_size, order, change, streams.augment)
    if checkpoint is not None:
        batches = checkpoint.watch(step.model, batches, first)
    for index, (inputs, labels) in enumerate(batches, start=first):
        set_learning_rate(step.optimizer, learning_rate(recipe, index, steps))
        total.add_(step(inputs, labels), alpha=len(labels))
        seen += len(labels)
    return float(total) / seen


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
