"""Trainings, one by one or several at once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from synflow_bench.records import Engine
from synflow_bench.training.loop import Batch, Course, Trained, Training, course
from synflow_bench.training.stacked import is_exact, is_stackable
from synflow_bench.training.step import StackedStep, Step, TrainingStep

MOST_TOGETHER = 8
"""The most networks that are worth training together: more are hardly faster."""


def can_share(training: Training) -> bool:
    """Whether up to `MOST_TOGETHER` trainings like this one, computed as one, give bitwise the same."""
    return (
        is_stacked(training)
        and training.examples.train.resident
        and torch.get_num_threads() == 1
        and all(_is_exact(training, size) for size in _batch_sizes(training))
    )


def _is_exact(training: Training, batch: int) -> bool:
    shape = (batch, *training.examples.train.shape)
    return is_exact(training.model, shape, networks=MOST_TOGETHER)


def _batch_sizes(training: Training) -> set[int]:
    """Those of the full batches and of the last one of an epoch."""
    examples, size = len(training.examples.train), training.recipe.batch_size
    return {min(size, examples), examples % size or size}


def train(training: Training) -> Trained:
    """Train one network."""
    return train_together([training])[0]


def train_together(trainings: Sequence[Training]) -> list[Trained]:
    """Train networks that share a recipe, data of one size and, for more than one, `can_share`.

    What comes out of each does not depend on the others. The seconds of each are its share of the whole.
    """
    started = time.perf_counter()
    engine = _engine_of(trainings[0])
    if engine == "stacked":
        trained = _train_stacked(trainings)
    else:
        trained = [_train_alone(training) for training in trainings]
    seconds = (time.perf_counter() - started) / len(trainings)
    return [replace(each, engine=engine, seconds=seconds) for each in trained]


def is_stacked(training: Training) -> bool:
    """Whether a training is computed as part of a stack, alone or not."""
    device, recipe = next(training.model.parameters()).device, training.recipe
    plain = recipe.precision == "fp32" and recipe.compile == "no"
    return device.type == "cpu" and plain and is_stackable(training.model)


def _engine_of(training: Training) -> Engine:
    if is_stacked(training):
        return "stacked"
    return "eager" if training.recipe.compile == "no" else "compiled"


def _train_stacked(trainings: Sequence[Training]) -> list[Trained]:
    step = StackedStep(trainings)
    try:
        return _drive(trainings, step)
    finally:
        step.release()


def _train_alone(training: Training) -> Trained:
    torch.manual_seed(training.seed)
    return _drive([training], TrainingStep.of(training))[0]


def _drive(trainings: Sequence[Training], step: Step) -> list[Trained]:
    """Let trainings of equal length take their steps side by side."""
    courses = [course(training, masked) for training, masked in zip(trainings, step.masked, strict=True)]
    losses: Sequence[torch.Tensor | None] = [None] * len(courses)
    while True:
        answers = [_advance(each, loss) for each, loss in zip(courses, losses, strict=True)]
        batches = [answer for answer in answers if isinstance(answer, Batch)]
        if not batches:
            return [answer for answer in answers if isinstance(answer, Trained)]
        losses = step(batches)


def _advance(course: Course, loss: torch.Tensor | None) -> Batch | Trained:
    try:
        return next(course) if loss is None else course.send(loss)
    except StopIteration as end:
        trained: Trained = end.value
        return trained
