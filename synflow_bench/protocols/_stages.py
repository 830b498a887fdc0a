"""What protocols are made of: a cell's data and network, a pruning, a training, and what they give."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from synflow_bench.metrics import Size, measure_size
from synflow_bench.protocols._bench import Bench
from synflow_bench.protocols._network import Network, build_network, prunable_of
from synflow_bench.pruning import Examples as ScoringData
from synflow_bench.pruning import (
    Masks,
    Problem,
    Pruned,
    random_inputs,
    random_labels,
    resolve_pruner,
    run_pruner,
    shuffle_masks,
)
from synflow_bench.records import Level
from synflow_bench.shrinking import shrink
from synflow_bench.suites import Cell, Purpose, seed_of
from synflow_bench.training import (
    Checkpoint,
    Examples,
    LoadedSplit,
    OnEpoch,
    Streams,
    Trained,
    Training,
    balanced_examples,
    is_stacked,
)


@dataclass(frozen=True)
class Outcome:
    """What a protocol gives: masks, sizes, the last training, its levels, and the seconds of its parts."""

    masks: Masks
    size: Size
    trained: Trained
    score_dtype: str | None
    prune_seconds: float
    train_seconds: float
    levels: tuple[Level, ...] = ()


Course = Generator[Training, Trained, Outcome]
"""A protocol at work on a cell: it asks for trainings and is given what they came to."""


def examples_of(cell: Cell, bench: Bench) -> Examples:
    """The data of the cell, with its validation split set apart."""
    name, fraction = cell.setting.dataset, cell.setting.recipe.validation_fraction
    training, validation = bench.divided(name, fraction, seed_of(cell, "split"))
    data = bench.data(name)
    return Examples(training, validation, data.test, data.augmentation)


def network_of(cell: Cell, bench: Bench, purpose: Purpose) -> Network:
    """The cell's network with the fresh weights of `purpose`: `init`, or `ablation` for other ones."""
    setting, data = cell.setting, bench.data(cell.setting.dataset)
    factory = bench.host.models.get(setting.model.name)
    seed = seed_of(cell, purpose)
    return build_network(factory, setting.model, data.input_shape, data.num_classes, seed, bench.device)


def everything(cell: Cell, network: Network) -> Masks:
    """Masks that keep every prunable weight."""
    return Masks.ones(prunable_of(network.model, cell.setting))


def prune_network(
    cell: Cell, network: Network, masks: Masks, density: float, training: LoadedSplit, bench: Bench
) -> Pruned:
    """Let the cell's pruner choose among what `masks` keep; the dense network keeps it all."""
    if cell.is_dense:
        return Pruned(masks, "float32")
    pruner, _ = resolve_pruner(bench.host.pruners.get(cell.pruner.name), cell.pruner)
    data = bench.data(cell.setting.dataset)
    problem = Problem.of(
        network.model,
        input_shape=data.input_shape,
        num_classes=data.num_classes,
        generator=generator(cell, "pruner"),
        options=cell.setting.pruning,
        examples=_scoring_data(cell, training, data.num_classes) if pruner.needs_data else None,
        invert=cell.ablation == "invert",
    )
    return run_pruner(pruner, problem.at(masks, density=masks.density, round=1), density)


def ablated(cell: Cell, masks: Masks) -> Masks:
    """The masks to train with: those of the pruning, or shuffled inside each layer."""
    return shuffle_masks(masks, generator(cell, "ablation")) if cell.ablation == "shuffle" else masks


def training_of(
    cell: Cell,
    network: Network,
    masks: Mapping[str, Tensor],
    examples: Examples,
    on_epoch: OnEpoch = lambda _: None,
    *,
    epochs: int | None = None,
    first_step: int = 0,
    checkpoint: Checkpoint | None = None,
) -> Training:
    """A training by the cell's recipe, for other `epochs` where given; data come in the same order always."""
    recipe = cell.setting.recipe
    if epochs is not None:
        recipe = recipe.model_copy(update={"epochs": epochs})
    return Training(
        model=network.model,
        masks=masks,
        recipe=recipe,
        examples=examples,
        streams=Streams(data=generator(cell, "data"), augment=generator(cell, "augment")),
        on_epoch=on_epoch,
        first_step=first_step,
        checkpoint=checkpoint,
        seed=seed_of(cell, "augment"),
    )


def train_what_is_left(
    cell: Cell, network: Network, masks: Masks, examples: Examples, on_epoch: OnEpoch
) -> Generator[Training, Trained, Trained]:
    """The last training of a cell, without the units that nothing reads; they keep what they had before."""
    training = training_of(cell, network, masks, examples, on_epoch)
    whole = is_stacked(training)
    shrunk = None if whole else shrink(network.model, masks, network.connectivity, examples.train.shape)
    if shrunk is None:
        return (yield training)
    trained = yield replace(training, model=shrunk.model, masks=shrunk.masks)
    shrunk.put_back()
    return replace(trained, engine="shrunk")


def size_of(network: Network, masks: Masks) -> Size:
    """How small the network is under `masks`."""
    return measure_size(network.model, masks, network.uses, network.connectivity)


def generator(cell: Cell, purpose: Purpose) -> torch.Generator:
    """A generator of its own for one purpose of the cell."""
    return torch.Generator().manual_seed(seed_of(cell, purpose))


def scoring_data(cell: Cell, bench: Bench) -> ScoringData:
    """The examples that the cell's pruner may look at."""
    classes = bench.data(cell.setting.dataset).num_classes
    return _scoring_data(cell, examples_of(cell, bench).train, classes)


def _scoring_data(cell: Cell, training: LoadedSplit, num_classes: int) -> ScoringData:
    per_class = cell.setting.pruning.examples_per_class
    examples = balanced_examples(training, num_classes, per_class, generator(cell, "score"))
    if cell.ablation == "random-labels":
        return random_labels(examples, num_classes, generator(cell, "ablation"))
    if cell.ablation == "random-inputs":
        return random_inputs(examples, generator(cell, "ablation"))
    return examples
