"""Iterative pruning (protocol `multishot`): train, prune and rewind, level by level."""

from __future__ import annotations

from functools import partial

from synflow_bench.cost import Span
from synflow_bench.errors import SuiteError
from synflow_bench.protocols.changing import pruner_in_training
from synflow_bench.protocols.checkpoint import Journal
from synflow_bench.protocols.context import (
    ProtocolSteps,
    PrunedNetwork,
    PruningSteps,
    WorkerContext,
    apply_ablation,
    dense_masks,
    examples_of,
    network_of,
    outcome_of,
    prune_network,
    span_of,
    training_of,
)
from synflow_bench.pruning import Masks, Pruned, densities
from synflow_bench.records import Level
from synflow_bench.suites import Cell, Setting
from synflow_bench.training import OnEpoch, RewindPoint, Trained, steps_per_epoch


def multishot(cell: Cell, context: WorkerContext, on_epoch: OnEpoch, journal: Journal) -> ProtocolSteps:
    """In each level train, prune to density ** (level / levels) and rewind; then train once more.

    Every training has a fresh optimizer and the same order of data. One that follows a rewinding to step s
    makes the steps from s on, with their learning rates; parameters and buffers are those after step s of the
    first training. With rewind `lr` they stay, and every training makes all steps. Ablations of masks and
    weights apply to the last level; new weights are trained for all steps.

    Raises:
        SuiteError: A training ends before the step to rewind to.
        HandledError: The dataset, the network or the pruner cannot be used.
    """
    ready = yield from prune_in_levels(cell, context, journal)
    first_step = ready.first_step
    trained = yield training_of(
        cell,
        ready.network,
        ready.masks,
        ready.examples,
        on_epoch,
        first_step=first_step,
        rewind=ready.rewind,
        alone=context.alone,
    )
    return outcome_of(cell, ready, trained, (*ready.levels, _level(len(ready.levels), trained, ready.masks)))


def prune_in_levels(cell: Cell, context: WorkerContext, journal: Journal) -> PruningSteps:
    """Run `multishot` up to the last pruning; every level is trained.

    Raises:
        SuiteError: A training ends before the step to rewind to.
        HandledError: The dataset, the network or the pruner cannot be used.
    """
    protocol, recipe = cell.setting.protocol, cell.setting.recipe
    pruner_in_training(cell, context)  # which this protocol cannot serve
    examples = examples_of(cell, context)
    check_rewind(cell.setting, len(context.data(cell.setting.dataset).train))
    network = network_of(cell, context, "init")
    rewind = None if protocol.step is None else RewindPoint(protocol.step)
    # Rewound and with nothing removed, every training repeats the first one: one level is enough.
    count = 1 if cell.is_dense and rewind else protocol.levels
    pre_epochs = protocol.trainings(recipe.epochs)[0]
    pruned = Pruned(dense_masks(cell, network), "float32")
    levels: list[Level] = []
    spans: list[Span] = []
    prune_seconds = train_seconds = passes = 0.0
    first_step = 0
    for density in densities("exponential", cell.density, count):
        training = training_of(
            cell,
            network,
            pruned.masks,
            examples,
            epochs=pre_epochs,
            first_step=first_step,
            rewind=rewind,
            alone=context.alone,
        )
        trained = yield training
        spans.append(span_of(network, pruned.masks, training))
        train_seconds += trained.seconds
        levels.append(_level(len(levels), trained, pruned.masks))
        prune = partial(prune_network, cell, network, pruned.masks, density, examples.train, context)
        pruned, seconds = journal.prune(prune, pruned.masks)
        prune_seconds += seconds
        passes += pruned.passes
        if rewind:
            rewind.restore(network.model)
            first_step = rewind.step
    masks = apply_ablation(cell, pruned.masks, network)
    if cell.ablation == "reinit":
        network, first_step = network_of(cell, context, "ablation"), 0
    return PrunedNetwork(
        network=network,
        masks=masks,
        examples=examples,
        score_dtype=None if cell.is_dense else pruned.score_dtype,
        prune_seconds=prune_seconds,
        train_seconds=train_seconds,
        first_step=first_step,
        rewind=rewind,
        levels=tuple(levels),
        warnings=pruned.warnings,
        spans=tuple(spans),
        passes=passes,
    )


def check_rewind(setting: Setting, images: int) -> None:
    """Check that every training of `setting` reaches the step that its protocol rewinds to, if any.

    Args:
        images: The number of images in the whole training set, validation included.

    Raises:
        SuiteError: A training ends before the step.
    """
    step, recipe = setting.protocol.step, setting.recipe
    if not step:
        return
    epochs = min(setting.protocol.trainings(recipe.epochs))
    examples = images - round(recipe.validation_fraction * images)
    steps = epochs * steps_per_epoch(examples, recipe.batch_size)
    if step >= steps:
        raise SuiteError(
            f"{setting.title}: rewind step {step} is beyond a training of {steps} optimizer steps "
            f"({epochs} x {steps // max(1, epochs)}); choose a lower one, 'init' or 'lr'"
        )


def _level(level: int, trained: Trained, masks: Masks) -> Level:
    end = trained.curve[-1]
    return Level(level=level, density=masks.density, val_top1=end.val_top1, test_top1=end.test_top1)
