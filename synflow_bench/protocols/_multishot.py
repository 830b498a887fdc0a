"""Train, prune and rewind, level by level."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from synflow_bench.errors import SuiteError
from synflow_bench.protocols._bench import Bench
from synflow_bench.protocols._network import Network
from synflow_bench.protocols._stages import (
    Course,
    Outcome,
    ablated,
    everything,
    examples_of,
    network_of,
    prune_network,
    size_of,
    training_of,
)
from synflow_bench.pruning import Masks, Pruned, densities
from synflow_bench.records import Level
from synflow_bench.suites import Cell, Multishot, Setting
from synflow_bench.training import Checkpoint, Examples, OnEpoch, Trained, Training, steps_per_epoch


def multishot(cell: Cell, protocol: Multishot, bench: Bench, on_epoch: OnEpoch) -> Course:
    """In each level: train, prune to density ** (level / levels), rewind; then train once more.

    Every training has a fresh optimizer and the same order of data. One that follows a rewinding to step s
    makes the steps from s on, with their learning rates; parameters and buffers are those after step s of the
    first training. With rewind `lr` they stay, and every training makes all steps. Ablations of masks and
    weights are made of the last level's; new weights have all steps to learn. Raises `SuiteError` for a
    step that no training has.
    """
    examples = examples_of(cell, bench)
    check_rewind(cell.setting, len(bench.data(cell.setting.dataset).train))
    network = network_of(cell, bench, "init")
    work = _Work(cell, protocol, bench, examples, network)
    pruned = Pruned(everything(cell, network), "float32")
    for density in work.densities:
        work.note((yield work.training(pruned.masks)), pruned.masks)
        pruned = work.prune(pruned.masks, density)
        work.rewind()
    masks = ablated(cell, pruned.masks)
    if cell.ablation == "reinit":
        work.reinitialize()
    trained = yield work.training(masks, on_epoch, last=True)
    work.note(trained, masks)
    return Outcome(
        masks=masks,
        size=size_of(work.network, masks),
        trained=trained,
        score_dtype=None if cell.is_dense else pruned.score_dtype,
        prune_seconds=work.prune_seconds,
        train_seconds=work.train_seconds,
        levels=tuple(work.levels),
    )


def check_rewind(setting: Setting, images: int) -> None:
    """Raise `SuiteError` where a training never comes to the step of a rewinding.

    `images` are those of the whole training set, validation included.
    """
    protocol, recipe = setting.protocol, setting.recipe
    if not isinstance(protocol, Multishot) or not protocol.step:
        return
    epochs = min(recipe.epochs, protocol.pre_epochs or recipe.epochs)
    examples = images - round(recipe.validation_fraction * images)
    steps = epochs * steps_per_epoch(examples, recipe.batch_size)
    if protocol.step >= steps:
        raise SuiteError(
            f"{setting.title}: rewind step {protocol.step} is beyond a training of {steps} optimizer steps "
            f"({epochs} x {steps // max(1, epochs)}); choose a lower one, 'init' or 'lr'"
        )


@dataclass
class _Work:
    """A cell between its levels: its network, where the next training begins, and what was seen."""

    cell: Cell
    protocol: Multishot
    bench: Bench
    examples: Examples
    network: Network
    first_step: int = 0
    levels: list[Level] = field(default_factory=list)
    prune_seconds: float = 0.0
    train_seconds: float = 0.0

    def __post_init__(self) -> None:
        step = self.protocol.step
        self._checkpoint = None if step is None else Checkpoint(step)

    @property
    def densities(self) -> list[float]:
        """The density after each level."""
        # Rewound and with nothing removed, every training repeats the first one: one level says it all.
        levels = 1 if self.cell.is_dense and self._checkpoint else self.protocol.levels
        return densities("exponential", self.cell.density, levels)

    def training(self, masks: Masks, on_epoch: OnEpoch = lambda _: None, *, last: bool = False) -> Training:
        """The next training, of what `masks` keep."""
        return training_of(
            self.cell,
            self.network,
            masks,
            self.examples,
            on_epoch,
            epochs=None if last else self.protocol.pre_epochs,
            first_step=self.first_step,
            checkpoint=None if self.levels else self._checkpoint,
        )

    def note(self, trained: Trained, masks: Masks) -> None:
        """Note how far a training under `masks` went, and what it took."""
        self.train_seconds += trained.seconds
        end = trained.curve[-1]
        level, density = len(self.levels), masks.density
        self.levels.append(
            Level(level=level, density=density, val_top1=end.val_top1, test_top1=end.test_top1)
        )

    def prune(self, masks: Masks, density: float) -> Pruned:
        """Choose among what `masks` keep."""
        started = time.perf_counter()
        pruned = prune_network(self.cell, self.network, masks, density, self.examples.train, self.bench)
        self.prune_seconds += time.perf_counter() - started
        return pruned

    def rewind(self) -> None:
        """Go back to the checkpoint; with learning-rate rewinding, weights stay."""
        if self._checkpoint:
            self._checkpoint.restore(self.network.model)
            self.first_step = self._checkpoint.step

    def reinitialize(self) -> None:
        """Take other weights, which have not made a step."""
        self.network, self.first_step = network_of(self.cell, self.bench, "ablation"), 0
