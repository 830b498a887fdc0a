"""One-shot pruning (protocol `singleshot`): prune once, then train."""

from __future__ import annotations

from functools import partial

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
    train_compacted,
    training_of,
)
from synflow_bench.suites import Cell
from synflow_bench.training import OnEpoch


def singleshot(cell: Cell, context: WorkerContext, on_epoch: OnEpoch, journal: Journal) -> ProtocolSteps:
    """Train `pre_epochs`, prune to the cell's compression ratio, train the recipe's epochs.

    With no `pre_epochs`, the network is pruned at initialization.

    Raises:
        HandledError: The dataset, the network or the pruner cannot be used.
    """
    ready = yield from prune_once(cell, context, journal)
    training = training_of(cell, ready.network, ready.masks, ready.examples, on_epoch)
    trained = yield from train_compacted(training, ready.network, ready.masks)
    return outcome_of(ready, trained)


def prune_once(cell: Cell, context: WorkerContext, journal: Journal) -> PruningSteps:
    """Run `singleshot` up to the pruning; with no `pre_epochs`, nothing is trained.

    Raises:
        HandledError: The dataset, the network or the pruner cannot be used.
    """
    examples = examples_of(cell, context)
    network = network_of(cell, context, "init")
    dense = dense_masks(cell, network)
    for epochs in cell.setting.protocol.trainings(cell.setting.recipe.epochs)[:-1]:
        yield training_of(cell, network, {}, examples, epochs=epochs)
    prune = partial(prune_network, cell, network, dense, cell.density, examples.train, context)
    pruned, prune_seconds = journal.prune(prune, dense)
    masks = apply_ablation(cell, pruned.masks)
    if cell.ablation == "reinit":
        network = network_of(cell, context, "ablation")
    return PrunedNetwork(
        network=network,
        masks=masks,
        examples=examples,
        score_dtype=None if cell.is_dense else pruned.score_dtype,
        prune_seconds=prune_seconds,
        warnings=pruned.warnings,
    )
