"""One-shot pruning: prune once, then train (protocol `singleshot`) or fine-tune (protocol `finetune`)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from synflow_bench.protocols.changing import changes_of, pruner_in_training, spans_of, undisturbed
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
    train_compacted,
    training_of,
)
from synflow_bench.pruning import Masks, density_after
from synflow_bench.suites import Cell
from synflow_bench.training import OnEpoch


def singleshot(cell: Cell, context: WorkerContext, on_epoch: OnEpoch, journal: Journal) -> ProtocolSteps:
    """Train, prune to the cell's compression ratio, and train again.

    In protocol `singleshot` the first training has `pre_epochs`, by default none: the network is pruned at
    initialization. In protocol `finetune` it has the recipe's epochs, and the second one is fine-tuning.

    Raises:
        HandledError: The dataset, the network or the pruner cannot be used.
    """
    ready = yield from prune_once(cell, context, journal)
    training = training_of(cell, ready.network, ready.masks, ready.examples, on_epoch, alone=context.alone)
    training = replace(training, recipe=cell.setting.protocol.last_recipe(training.recipe))
    pruner = pruner_in_training(cell, context)
    if pruner is None:
        trained = yield from train_compacted(training, ready.network, ready.masks)
        return outcome_of(cell, ready, trained)
    changes = changes_of(cell, context, pruner, ready, training)
    trained = yield replace(training, changes=changes)
    masks = Masks(changes.masks, left_out=ready.masks.left_out)
    return outcome_of(cell, replace(ready, masks=masks), trained, spans=spans_of(changes, ready, training))


def prune_once(cell: Cell, context: WorkerContext, journal: Journal) -> PruningSteps:
    """Run the protocol up to the pruning; with no epochs before it, nothing is trained.

    Raises:
        HandledError: The dataset, the network or the pruner cannot be used.
    """
    pruner = pruner_in_training(cell, context)
    examples = examples_of(cell, context)
    network = network_of(cell, context, "init")
    dense = dense_masks(cell, network)
    density = cell.density
    if pruner is not None:
        with undisturbed(cell, context):
            density = density_after(pruner, 0.0, cell.density, dense.size)
            density_after(pruner, 1.0, cell.density)  # a wrong one is an error before the training
    spans = []
    for epochs in cell.setting.protocol.trainings(cell.setting.recipe.epochs)[:-1]:
        training = training_of(cell, network, {}, examples, epochs=epochs, alone=context.alone)
        yield training
        spans.append(span_of(network, dense, training))
    prune = partial(prune_network, cell, network, dense, density, examples.train, context)
    pruned, prune_seconds = journal.prune(prune, dense)
    masks = apply_ablation(cell, pruned.masks, network)
    if cell.ablation == "reinit":
        network = network_of(cell, context, "ablation")
    return PrunedNetwork(
        network=network,
        masks=masks,
        examples=examples,
        score_dtype=None if cell.is_dense else pruned.score_dtype,
        prune_seconds=prune_seconds,
        warnings=pruned.warnings,
        spans=tuple(spans),
        passes=pruned.passes,
    )
