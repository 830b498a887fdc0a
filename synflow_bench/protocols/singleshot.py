"""One-shot pruning (protocol `singleshot`): prune once, then train."""

from __future__ import annotations

import time

from synflow_bench.metrics import measure_size
from synflow_bench.protocols.context import (
    Outcome,
    ProtocolSteps,
    WorkerContext,
    apply_ablation,
    dense_masks,
    examples_of,
    network_of,
    prune_network,
    train_compacted,
    training_of,
)
from synflow_bench.suites import Cell
from synflow_bench.training import OnEpoch


def singleshot(cell: Cell, context: WorkerContext, on_epoch: OnEpoch) -> ProtocolSteps:
    """Train `pre_epochs`, prune to the cell's compression ratio, train the recipe's epochs.

    With no `pre_epochs`, the network is pruned at initialization.

    Raises:
        HandledError: The dataset, the network or the pruner cannot be used.
    """
    examples = examples_of(cell, context)
    network = network_of(cell, context, "init")
    dense = dense_masks(cell, network)
    for epochs in cell.setting.protocol.trainings(cell.setting.recipe.epochs)[:-1]:
        yield training_of(cell, network, {}, examples, epochs=epochs)
    started = time.perf_counter()
    pruned = prune_network(cell, network, dense, cell.density, examples.train, context)
    masks = apply_ablation(cell, pruned.masks)
    prune_seconds = time.perf_counter() - started
    if cell.ablation == "reinit":
        network = network_of(cell, context, "ablation")
    training = training_of(cell, network, masks, examples, on_epoch)
    trained = yield from train_compacted(training, network, masks)
    return Outcome(
        masks=masks,
        size=measure_size(network.model, masks, network.uses, network.graph),
        trained=trained,
        score_dtype=None if cell.is_dense else pruned.score_dtype,
        prune_seconds=prune_seconds,
        train_seconds=trained.seconds,
        warnings=pruned.warnings,
    )
