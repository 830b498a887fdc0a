"""The context of a worker, and the parts of which protocols are made: data, networks, pruning, training."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from synflow_bench.compaction import compact
from synflow_bench.cost import PassCounter, Span, cost_of
from synflow_bench.data import InvalidDatasetError
from synflow_bench.errors import DataError
from synflow_bench.host import Host
from synflow_bench.metrics import Size, measure_size
from synflow_bench.process import ProcessState
from synflow_bench.protocols.checkpoint import Checkpoints, StopRequest
from synflow_bench.protocols.network import Network, blamed_on, build_network, prunable_of
from synflow_bench.pruning import (
    Examples,
    Masks,
    Problem,
    Pruned,
    groups_of,
    random_inputs,
    random_labels,
    resolve_pruner,
    run_pruner,
    shuffle_masks,
)
from synflow_bench.records import Cost, Level, Record
from synflow_bench.suites import Cell, Purpose, parse_dataset, seed_of
from synflow_bench.training import (
    LoadedData,
    LoadedSplit,
    OnEpoch,
    RewindPoint,
    Streams,
    Trained,
    Training,
    TrainingData,
    balanced_examples,
    blank_input,
    examples_seen,
    is_batched,
    is_tokens,
    random_examples,
)


@dataclass(frozen=True)
class WorkerContext:
    """The plugins, the device and the loaded data of a process that runs cells.

    Attributes:
        host: The plugins.
        data_root: The data folder.
        device: The device to compute on.
        threads: The number of threads, which every record names.
        batchable: By the digest of a setting, True if its cells may be trained in one batch.
        checkpoints: The checkpoints of running cells; None if they are not saved.
        stop: A request that this process stops.
        on_outcome: Called with the record and the outcome of every cell that succeeds.
        alone: True if every cell is trained alone by the ordinary step, also where it could be in a batch.
    """

    host: Host
    data_root: Path
    device: torch.device
    threads: int
    _data: dict[str, LoadedData] = field(default_factory=dict, repr=False)
    batchable: dict[str, bool] = field(default_factory=dict, repr=False)
    _divided: dict[tuple[str, float, int], tuple[LoadedSplit, LoadedSplit | None]] = field(
        default_factory=dict, repr=False
    )
    checkpoints: Checkpoints | None = None
    stop: StopRequest = field(default_factory=StopRequest)
    on_outcome: OnOutcome | None = None
    alone: bool = False

    def data(self, name: str) -> LoadedData:
        """Return the dataset `name` on the device; it is read at first use.

        Raises:
            UnknownNameError: No plugin registers the name.
            PluginError: The plugin's object is not a dataset.
            DataError: The dataset is missing (`DataMissingError`), damaged, or differs from its declaration.
        """
        if name not in self._data:
            self._data[name] = self._load(name)
        return self._data[name]

    def data_digest(self, name: str) -> str | None:
        """Return the sha256 of the examples of the dataset `name`, or None if it has not been read."""
        return self._data[name].digest if name in self._data else None

    def divided(self, name: str, fraction: float, seed: int) -> tuple[LoadedSplit, LoadedSplit | None]:
        """Return training and validation examples of the dataset `name`; the latest division is kept.

        Raises:
            HandledError: As `data`.
        """
        key = (name, fraction, seed)
        if key not in self._divided:
            self._divided.clear()
            self._divided[key] = self.data(name).divide(fraction, torch.Generator().manual_seed(seed))
        return self._divided[key]

    def with_data(self, name: str, data: LoadedData) -> WorkerContext:
        """Return a context in which `data` is the dataset `name`, and which saves no checkpoints."""
        return WorkerContext(
            self.host, self.data_root, self.device, self.threads, {name: data}, alone=self.alone
        )

    def close(self) -> None:
        """Release the datasets; their data workers end with them."""
        self._divided.clear()
        self._data.clear()

    def _load(self, name: str) -> LoadedData:
        dataset = self.host.dataset(name, self.data_root)
        try:
            return LoadedData.load(dataset, self.data_root, self.device)
        except DataError as error:
            base, _ = parse_dataset(name)
            named = f"dataset {base!r}" in str(error)
            broken = isinstance(error, InvalidDatasetError)
            title = self.host.datasets.entry(base).title if broken else f"dataset {base!r}"
            raise type(error)(f"{error}" if named else f"{title}: {error}") from error


@dataclass(frozen=True)
class PrunedNetwork:
    """A network after its last pruning, ready for its last training.

    Attributes:
        network: The network, with the weights to train from.
        masks: The masks to train with.
        examples: The data.
        score_dtype: The floating-point type of the scores; None for the dense network.
        prune_seconds: The time of all prunings.
        train_seconds: The time of earlier trainings that the record counts.
        first_step: The optimizer step to train from.
        rewind: The state that the network was rewound to, for checkpoints of the last training.
        levels: The earlier levels of iterative pruning.
        warnings: What the user should know about the masks, a line each.
        spans: The earlier trainings, also those that the record does not count, for the cost.
        passes: The forward passes of one example that all prunings have cost.
    """

    network: Network
    masks: Masks
    examples: TrainingData
    score_dtype: str | None
    prune_seconds: float
    train_seconds: float = 0.0
    first_step: int = 0
    rewind: RewindPoint | None = None
    levels: tuple[Level, ...] = ()
    warnings: tuple[str, ...] = ()
    spans: tuple[Span, ...] = ()
    passes: float = 0.0


PruningSteps = Generator[Training, Trained, PrunedNetwork]
"""The run of a protocol up to its last pruning: it yields the trainings before it."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of a protocol on a cell.

    Attributes:
        model: The trained network; removed weights are zero.
        masks: The masks of the last training.
        size: The size of the network under them.
        trained: The last training.
        score_dtype: The floating-point type of the scores; None for the dense network.
        prune_seconds: The time of all prunings.
        train_seconds: The time of all trainings that the record counts.
        cost: The multiply-accumulates of all trainings and prunings.
        levels: The levels of iterative pruning.
        warnings: What the user should know about the masks, a line each.
    """

    model: nn.Module
    masks: Masks
    size: Size
    trained: Trained
    score_dtype: str | None
    prune_seconds: float
    train_seconds: float
    cost: Cost
    levels: tuple[Level, ...] = ()
    warnings: tuple[str, ...] = ()


OnOutcome = Callable[[Record, Outcome], None]
"""A function that receives the record and the outcome of a cell."""

ProtocolSteps = Generator[Training, Trained, Outcome]
"""The run of a protocol on a cell: it yields trainings, receives their results, and returns an outcome."""


def outcome_of(
    cell: Cell,
    ready: PrunedNetwork,
    trained: Trained,
    levels: tuple[Level, ...] = (),
    spans: tuple[Span, ...] | None = None,
) -> Outcome:
    """Return the outcome of a cell whose last training has ended.

    Args:
        cell: The cell.
        ready: The network before the last training.
        trained: The last training.
        levels: The levels of iterative pruning.
        spans: The steps of the last training under each of its masks, if these changed.
    """
    network, masks = ready.network, ready.masks
    size = measure_size(network.model, masks, network.uses, network.graph)
    recipe, examples = cell.setting.recipe, len(ready.examples.train)
    if spans is None:
        epochs = cell.setting.protocol.last_recipe(recipe).epochs
        seen = examples_seen(examples, recipe.batch_size, epochs, ready.first_step)
        spans = (Span(seen, size.macs),)
    cost = cost_of(
        (*ready.spans, *spans),
        ready.passes,
        examples=examples_seen(examples, recipe.batch_size, recipe.epochs),
        dense_macs=size.dense_macs,
        uncounted=network.uncounted,
    )
    return Outcome(
        model=network.model,
        masks=masks,
        size=size,
        trained=trained,
        score_dtype=ready.score_dtype,
        prune_seconds=ready.prune_seconds,
        train_seconds=ready.train_seconds + trained.seconds,
        cost=cost,
        levels=levels,
        warnings=ready.warnings,
    )


def generator(cell: Cell, purpose: Purpose) -> torch.Generator:
    """Make the random generator of one purpose of the cell, on the CPU."""
    return torch.Generator().manual_seed(seed_of(cell, purpose))


def examples_of(cell: Cell, context: WorkerContext) -> TrainingData:
    """Return the data of the cell, with its validation split held out.

    Raises:
        HandledError: As `WorkerContext.data`.
    """
    name, fraction = cell.setting.dataset, cell.setting.recipe.validation_fraction
    training, validation = context.divided(name, fraction, seed_of(cell, "split"))
    data = context.data(name)
    return TrainingData(training, validation, data.test, data.augmentation)


def network_of(cell: Cell, context: WorkerContext, purpose: Purpose) -> Network:
    """Build the cell's network with new weights, drawn for the purpose `init` or `ablation`.

    Raises:
        HandledError: As `build_network` and `WorkerContext.data`.
    """
    setting, data = cell.setting, context.data(cell.setting.dataset)
    factory = context.host.models.get(setting.model.name)
    seed = seed_of(cell, purpose)
    with blamed_on(context.host.models.entry(setting.model.name)):
        return build_network(factory, setting.model, data.input_shape, data.num_classes, seed, context.device)


def dense_masks(cell: Cell, network: Network) -> Masks:
    """Return masks that keep every prunable weight."""
    return Masks.ones(prunable_of(network.model, cell.setting))


def prune_network(
    cell: Cell,
    network: Network,
    masks: Masks,
    density: float,
    training: LoadedSplit,
    context: WorkerContext,
) -> Pruned:
    """Run the cell's pruner on what `masks` keep; the dense network keeps all of it.

    Args:
        density: The share of all prunable weights to keep.
        training: The examples that scores may be computed on.

    Raises:
        HandledError: The pruner, its parameters or its scores cannot be used.
    """
    if cell.is_dense:
        return Pruned(masks, "float32")
    pruner, _ = resolve_pruner(context.host.pruners.get(cell.pruner.name), cell.pruner)
    data = context.data(cell.setting.dataset)
    shape = data.input_shape
    problem = Problem.of(
        network.model,
        input_shape=shape,
        num_classes=data.num_classes,
        generator=generator(cell, "pruner"),
        options=cell.setting.pruning,
        examples=_scoring_data(cell, training, data.num_classes) if pruner.needs_data else None,
        example_inputs=blank_input(shape).to(context.device) if is_tokens(shape) else None,
        invert=cell.ablation == "invert",
    )
    problem = problem.at(masks, density=masks.density, round=1)
    counter = PassCounter()
    with counter.counting():
        state = None if context.host.pruners.entry(cell.pruner.name).is_first_party else ProcessState()
        try:
            pruned = run_pruner(pruner, problem, density)
        finally:
            changed = state.restore() if state else []
    passes = problem.passes + counter.passes(network.model, network.uses)
    pruned = replace(pruned, passes=passes)
    note = f"the pruner changed {', '.join(changed)}; the training does not see that"
    return replace(pruned, warnings=(*pruned.warnings, note)) if changed else pruned


def scoring_data(cell: Cell, context: WorkerContext) -> Examples:
    """Return the examples on which the cell's pruner may compute scores.

    Raises:
        HandledError: As `WorkerContext.data`; a `DataError` where a class has too few examples.
    """
    classes = context.data(cell.setting.dataset).num_classes
    return _scoring_data(cell, examples_of(cell, context).train, classes)


def _scoring_data(cell: Cell, training: LoadedSplit, num_classes: int) -> Examples:
    options, draws = cell.setting.pruning, generator(cell, "score")
    if options.examples == "random":
        examples = random_examples(training, num_classes * options.examples_per_class, draws)
    else:
        examples = balanced_examples(training, num_classes, options.examples_per_class, draws)
    if cell.ablation == "random-labels":
        return random_labels(examples, num_classes, generator(cell, "ablation"))
    if cell.ablation == "random-inputs":
        return random_inputs(examples, generator(cell, "ablation"))
    return examples


def apply_ablation(cell: Cell, masks: Masks, network: Network) -> Masks:
    """Return the masks to train with: those of the pruning, or shuffled inside each layer."""
    if cell.ablation != "shuffle":
        return masks
    prunable = prunable_of(network.model, cell.setting)
    groups = groups_of(network.model, prunable, cell.setting.pruning, lambda: network.graph)
    return shuffle_masks(masks, generator(cell, "ablation"), groups)


def span_of(network: Network, masks: Mapping[str, Tensor], training: Training) -> Span:
    """Return the span of a training of `network` under `masks`, which do not change in it."""
    size = measure_size(network.model, masks, network.uses, network.graph)
    return Span(training.seen, size.macs)


def training_of(
    cell: Cell,
    network: Network,
    masks: Mapping[str, Tensor],
    examples: TrainingData,
    on_epoch: OnEpoch = lambda _: None,
    *,
    epochs: int | None = None,
    first_step: int = 0,
    rewind: RewindPoint | None = None,
    alone: bool = False,
) -> Training:
    """Make a training by the cell's recipe; every training of a cell has the same order of data.

    Args:
        masks: The weights to keep; a parameter without a mask is kept whole.
        on_epoch: Called with every point of the curve.
        epochs: The epochs; by default those of the recipe.
        first_step: The optimizer step to start from.
        rewind: A state of the network to save during the training, unless it is saved already.
        alone: As in `WorkerContext`.
    """
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
        rewind=rewind,
        seed=seed_of(cell, "augment"),
        alone=alone,
    )


def train_compacted(
    training: Training, network: Network, masks: Masks
) -> Generator[Training, Trained, Trained]:
    """Run the last training of a cell without the dead nodes of its network, which keep their values."""
    compacted = None
    if not is_batched(training):
        compacted = compact(network.model, masks, network.graph, training.examples.train.shape)
    if compacted is None:
        return (yield training)
    trained = yield replace(training, model=compacted.model, masks=compacted.masks, alone=True)
    compacted.expand()
    return replace(trained, engine="shrunk")
