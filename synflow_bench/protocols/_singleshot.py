"""Prune once, then train."""

from __future__ import annotations

import time

from synflow_bench.protocols._bench import Bench
from synflow_bench.protocols._stages import (
    Course,
    Outcome,
    ablated,
    everything,
    examples_of,
    network_of,
    prune_network,
    size_of,
    train_what_is_left,
    training_of,
)
from synflow_bench.suites import Cell
from synflow_bench.training import OnEpoch


def singleshot(cell: Cell, bench: Bench, on_epoch: OnEpoch) -> Course:
    """Train `pre_epochs`, prune to the cell's compression, train the recipe's epochs.

    With no `pre_epochs`, pruning happens at initialization.
    """
    examples = examples_of(cell, bench)
    network = network_of(cell, bench, "init")
    dense = everything(cell, network)
    if epochs := cell.setting.protocol.pre_epochs:
        yield training_of(cell, network, {}, examples, epochs=epochs)
    started = time.perf_counter()
    pruned = prune_network(cell, network, dense, cell.density, examples.train, bench)
    masks = ablated(cell, pruned.masks)
    prune_seconds = time.perf_counter() - started
    if cell.ablation == "reinit":
        network = network_of(cell, bench, "ablation")
    trained = yield from train_what_is_left(cell, network, masks, examples, on_epoch)
    return Outcome(
        masks=masks,
        size=size_of(network, masks),
        trained=trained,
        score_dtype=None if cell.is_dense else pruned.score_dtype,
        prune_seconds=prune_seconds,
        train_seconds=trained.seconds,
    )
