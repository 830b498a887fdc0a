"""Trainings whose masks change: the updates of a pruner, as a training makes them, and their cost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from synflow_bench.cost import Span
from synflow_bench.errors import NotDefinedError
from synflow_bench.metrics import dense_macs
from synflow_bench.process import ProcessState
from synflow_bench.protocols.context import PrunedNetwork, WorkerContext, generator
from synflow_bench.pruning import (
    Masks,
    MaskUpdate,
    TrainingPruner,
    density_after,
    first_values,
    resolve_pruner,
    update_masks,
    update_steps,
)
from synflow_bench.pruning.rounds import own_randomness
from synflow_bench.suites import Cell, seed_of
from synflow_bench.training import ChangeStep, MaskChanges, Training, examples_seen, steps_per_epoch


def pruner_in_training(cell: Cell, context: WorkerContext) -> TrainingPruner | None:
    """Return the cell's pruner if it changes masks in training, else None.

    Raises:
        NotDefinedError: It does, and the cell's protocol, ablation or granularity has no place for that.
        HandledError: The pruner or its parameters cannot be used.
    """
    if cell.is_dense:
        return None
    pruner, _ = resolve_pruner(context.host.pruners.get(cell.pruner.name), cell.pruner)
    if not isinstance(pruner, TrainingPruner):
        return None
    setting, name = cell.setting, f"pruner {cell.pruner.name!r} changes its masks in training"
    if setting.protocol.name != "singleshot":
        raise NotDefinedError(
            f"{name}, which protocol {setting.protocol.name!r} cannot serve; use 'singleshot'"
        )
    if cell.ablation != "none":
        raise NotDefinedError(
            f"{name}, so that ablation {cell.ablation!r} has no masks to change; leave it out"
        )
    if setting.pruning.granularity != "weight":
        raise NotDefinedError(
            f"{name} weight by weight, not with granularity {setting.pruning.granularity!r}; use 'weight'"
        )
    return pruner


@contextmanager
def undisturbed(cell: Cell, context: WorkerContext) -> Iterator[None]:
    """Restore what a pruner of a third party changes in this process, with the random generators."""
    if context.host.pruners.entry(cell.pruner.name).is_first_party:
        yield
        return
    with ProcessState.kept(), own_randomness(context.device, seed_of(cell, "update")):
        yield


def changes_of(
    cell: Cell, context: WorkerContext, pruner: TrainingPruner, ready: PrunedNetwork, training: Training
) -> MaskChanges:
    """Return the changes of masks in `training`; the network gets the weights that the pruner begins with.

    Settings of the process, such as torch's default type, are restored after each call of a third party.

    Raises:
        UsageError: The training is over before the first change.
        NotDefinedError: It is, with the method's own number of steps.
        PluginError: The steps or the weights that the pruner returns cannot be used.
    """
    recipe = training.recipe
    per_epoch = steps_per_epoch(len(training.examples.train), recipe.batch_size)
    steps = recipe.epochs * per_epoch
    parameters = dict(ready.network.model.named_parameters())
    weights = {name: parameters[name].detach() for name in ready.masks}
    with undisturbed(cell, context):
        due = update_steps(pruner, steps, per_epoch)
        values = first_values(pruner, weights, cell.density)
    with torch.no_grad():
        for name, value in values.items():
            weights[name].copy_(value)

    def decide(changes: MaskChanges, at: ChangeStep) -> Masks:
        progress = 1.0 if at.step == due[-1] else at.step / due[-1]
        gradients = at.gradients and {name: _finite(gradient) for name, gradient in at.gradients.items()}
        with undisturbed(cell, context):
            density = density_after(pruner, progress, cell.density, ready.masks.size)
        update = MaskUpdate(
            step=at.step,
            steps=steps,
            progress=progress,
            density=density,
            masks=Masks({name: mask.clone() for name, mask in changes.masks.items()}),
            weights={name: torch.nan_to_num(weight, 0, 0, 0) for name, weight in at.weights.items()},
            lr=at.lr,
            scope=cell.setting.pruning.scope,
            seed=seed_of(cell, "pruner"),
            generator=changes.generator,
            values=changes.values,
            state=changes.state,
            _gradients=gradients,
        )
        with undisturbed(cell, context):
            return update_masks(pruner, update)

    return MaskChanges(
        masks=dict(ready.masks),
        decide=decide,
        due=due,
        needs_gradients=pruner.needs_gradients,
        generator=generator(cell, "update"),
        values=values,
    )


def _finite(gradient: Tensor | None) -> Tensor | None:
    return None if gradient is None else torch.nan_to_num(gradient, 0, 0, 0)


def spans_of(changes: MaskChanges, ready: PrunedNetwork, training: Training) -> tuple[Span, ...]:
    """Return the spans of a training that has changed its masks, for its cost.

    Every kept weight counts, because one that cannot act now may act after the next change.
    """
    model, uses = ready.network.model, ready.network.uses
    dense = dense_macs(model, ready.masks, uses, ready.network.graph)
    images, recipe = len(training.examples.train), training.recipe
    steps = recipe.epochs * steps_per_epoch(images, recipe.batch_size)

    def seen(first: int, end: int) -> int:
        before, after = (examples_seen(images, recipe.batch_size, recipe.epochs, at) for at in (first, end))
        return before - after

    def spans() -> Iterator[Span]:
        for span in changes.spans_until(steps):
            macs = sum(
                round(whole * span.kept[name] / changes.masks[name].numel()) if name in span.kept else whole
                for name, whole in dense.items()
            )
            due = [step for step in changes.due if step in span.steps] if changes.needs_gradients else []
            with_gradients = sum(seen(step, step + 1) for step in due)
            yield Span(seen(span.steps.start, span.steps.stop), macs, with_gradients)

    return tuple(spans())
