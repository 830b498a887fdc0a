"""Prune once, then train."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from synflow_bench.metrics import Size, measure_size
from synflow_bench.protocols._bench import Bench
from synflow_bench.protocols._network import Network, build_network
from synflow_bench.pruning import Examples as ScoringData
from synflow_bench.pruning import (
    Masks,
    Problem,
    Pruned,
    prunable_parameters,
    random_inputs,
    random_labels,
    resolve_pruner,
    run_pruner,
    shuffle_masks,
)
from synflow_bench.suites import Cell, Purpose, seed_of
from synflow_bench.training import (
    Examples,
    OnEpoch,
    ResidentSplit,
    Streams,
    Trained,
    balanced_examples,
    train,
)


@dataclass(frozen=True)
class Outcome:
    """What a protocol gives: masks, sizes, the training, and the seconds of its parts."""

    masks: Masks
    size: Size
    trained: Trained
    score_dtype: str | None
    prune_seconds: float
    train_seconds: float


def singleshot(cell: Cell, bench: Bench, on_epoch: OnEpoch) -> Outcome:
    """Train `pre_epochs`, prune to the cell's compression, train the recipe's epochs.

    With no `pre_epochs`, pruning happens at initialization.
    """
    setting = cell.setting
    data = bench.data(setting.dataset)
    training, validation = data.divide(setting.recipe.validation_fraction, _generator(cell, "split"))
    examples = Examples(training, validation, data.test, data.augmentation)
    network = _network(cell, bench, "init")
    _pretrain(cell, network, examples)
    started = time.perf_counter()
    pruned = _prune(cell, network, training, bench)
    prune_seconds = time.perf_counter() - started
    if cell.ablation == "reinit":
        network = _network(cell, bench, "ablation")
    started = time.perf_counter()
    trained = _train(cell, network, pruned.masks, examples, on_epoch)
    return Outcome(
        masks=pruned.masks,
        size=measure_size(network.model, pruned.masks, network.uses),
        trained=trained,
        score_dtype=None if cell.is_dense else pruned.score_dtype,
        prune_seconds=prune_seconds,
        train_seconds=time.perf_counter() - started,
    )


def _network(cell: Cell, bench: Bench, purpose: Purpose) -> Network:
    setting, data = cell.setting, bench.data(cell.setting.dataset)
    factory = bench.host.models.get(setting.model.name)
    seed = seed_of(cell, purpose)
    return build_network(factory, setting.model, data.input_shape, data.num_classes, seed, bench.device)


def _pretrain(cell: Cell, network: Network, examples: Examples) -> None:
    epochs = cell.setting.protocol.pre_epochs
    if epochs:
        recipe = cell.setting.recipe.model_copy(update={"epochs": epochs})
        _seed_layers(cell)
        train(network.model, {}, recipe, examples, _streams(cell))


def _train(cell: Cell, network: Network, masks: Masks, examples: Examples, on_epoch: OnEpoch) -> Trained:
    _seed_layers(cell)
    return train(network.model, masks, cell.setting.recipe, examples, _streams(cell), on_epoch)


def _seed_layers(cell: Cell) -> None:
    """Layers that draw for themselves, such as dropout, use the global generator."""
    torch.manual_seed(seed_of(cell, "augment"))


def _prune(cell: Cell, network: Network, training: ResidentSplit, bench: Bench) -> Pruned:
    options = cell.setting.pruning
    if cell.is_dense:
        return Pruned(Masks.ones(prunable_parameters(network.model, options)), "float32")
    pruner, _ = resolve_pruner(bench.host.pruners.get(cell.pruner.name), cell.pruner)
    data = bench.data(cell.setting.dataset)
    problem = Problem.of(
        network.model,
        input_shape=data.input_shape,
        num_classes=data.num_classes,
        generator=_generator(cell, "pruner"),
        options=options,
        examples=_scoring_data(cell, training, data.num_classes) if pruner.needs_data else None,
        invert=cell.ablation == "invert",
    )
    pruned = run_pruner(pruner, problem, cell.density)
    if cell.ablation == "shuffle":
        return Pruned(shuffle_masks(pruned.masks, _generator(cell, "ablation")), pruned.score_dtype)
    return pruned


def _scoring_data(cell: Cell, training: ResidentSplit, num_classes: int) -> ScoringData:
    per_class = cell.setting.pruning.examples_per_class
    examples = balanced_examples(training, num_classes, per_class, _generator(cell, "score"))
    if cell.ablation == "random-labels":
        return random_labels(examples, num_classes, _generator(cell, "ablation"))
    if cell.ablation == "random-inputs":
        return random_inputs(examples, _generator(cell, "ablation"))
    return examples


def _streams(cell: Cell) -> Streams:
    return Streams(data=_generator(cell, "data"), augment=_generator(cell, "augment"))


def _generator(cell: Cell, purpose: Purpose) -> torch.Generator:
    return torch.Generator().manual_seed(seed_of(cell, purpose))
