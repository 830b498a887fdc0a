"""Pruners that change their masks while the network is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isclose, nan
from numbers import Real
from typing import Any, ClassVar

import torch
from torch import Tensor

from synflow_bench.errors import NotDefinedError, PluginError, UsageError, count
from synflow_bench.pruning.masks import Masks
from synflow_bench.pruning.pruner import Pruner
from synflow_bench.pruning.rounds import own_randomness
from synflow_bench.pruning.selection import keep_largest, kept_count, select
from synflow_bench.suites import Scope

LEAST_WITH_GRADIENTS = 4
"""The fewest steps from one update to the next where updates replace optimizer steps: one of four at most."""


@dataclass(frozen=True)
class MaskUpdate:
    """The state of a training at a step at which a pruner may change the masks.

    Numbers that are not finite, in a training that has diverged, are zero here.

    Attributes:
        step: The number of optimizer steps before it.
        steps: The number of all steps of the training.
        progress: The share of the updates that are made with this one, 1 at the last.
        density: The share of all prunable weights to keep from now on.
        masks: The present masks.
        weights: Copies of the prunable weights, by name; removed ones are zero.
        values: The values that weights grow with, by name; zero where there are none. They begin as what the
            pruner's `initial` returns, an update may set others, and they are part of checkpoints.
        lr: The learning rate of this step.
        scope: The setting's scope of ranking, `global` or `local`.
        seed: The seed of the generator of the pruner's `prune`.
        generator: The generator for all that is drawn in updates, on the CPU.
        state: Tensors to keep from one update to the next, by name. They are part of checkpoints: the next
            update has copies, in the order of the names.

    Example:
        >>> masks = Masks({"w": torch.tensor([True, True, False, False])})
        >>> weights = {"w": torch.tensor([0.5, -0.1, 0.0, 0.0])}
        >>> generator = torch.Generator().manual_seed(0)
        >>> update = MaskUpdate(100, 400, 0.5, 0.5, masks, weights, 0.1, "global", 0, generator)
        >>> kept = update.drop(0.5, {"w": weights["w"].abs()})
        >>> update.grow(kept, {"w": torch.tensor([0.0, 0.0, 1.0, 2.0])})["w"]
        tensor([ True, False, False,  True])
    """

    step: int
    steps: int
    progress: float
    density: float
    masks: Masks
    weights: Mapping[str, Tensor]
    lr: float
    scope: Scope
    seed: int
    generator: torch.Generator
    values: dict[str, Tensor] = field(default_factory=dict)
    state: dict[str, Tensor] = field(default_factory=dict)
    _gradients: Mapping[str, Tensor | None] | None = None

    def gradients(self) -> dict[str, Tensor]:
        """Return the gradient of the loss of this step's batch for all weights, removed ones included.

        Raises:
            PluginError: The pruner declares that it needs no gradients, or a layer has none.
        """
        if self._gradients is None:
            raise PluginError(
                "this pruner asks for gradients in training, and declares needs_gradients = False; set it to "
                "True"
            )
        found = {}
        for name, gradient in self._gradients.items():
            if gradient is None:
                raise PluginError(
                    f"layer {name!r} has no gradient in training: no weight of it can grow by one"
                )
            found[name] = gradient
        return found

    def random(self) -> dict[str, Tensor]:
        """Return a uniform random number in [0, 1) for every weight, drawn from `generator`."""
        return {
            name: torch.rand(mask.shape, generator=self.generator).to(mask.device)
            for name, mask in self.masks.items()
        }

    def keep(
        self, scores: Mapping[str, Tensor], scope: Scope | None = None, *, revive: bool = False
    ) -> Masks:
        """Return masks of `density`, of the weights with the largest scores among the present ones.

        Args:
            scores: A score per weight, by name.
            scope: `global` or `local`; by default that of the setting.
            revive: Let removed weights compete again.
        """
        ordered = {name: scores[name] for name in self.masks}
        eligible = Masks.ones(ordered) if revive else self.masks
        return select(ordered, eligible, self.density, scope or self.scope).masks

    def drop(self, fraction: float, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the present masks without the `fraction` of each layer that has the smallest scores.

        The number of dropped weights is rounded down.
        """
        return {
            name: _largest(scores[name], mask, kept - int(fraction * kept))
            for (name, mask), kept in zip(self.masks.items(), self.masks.layer_kept.values(), strict=True)
        }

    def grow(self, kept: Mapping[str, Tensor], scores: Mapping[str, Tensor]) -> Masks:
        """Return masks that keep what `kept` does, and in each layer as many weights as the present ones.

        The other weights of a layer, those dropped now included, grow in the order of their scores.
        """
        grown = {}
        for name, mask in kept.items():
            missing = self.masks.layer_kept[name] - int(mask.count_nonzero())
            grown[name] = mask | _largest(scores[name], ~mask, missing)
        return Masks(grown)


def _largest(scores: Tensor, eligible: Tensor, count: int) -> Tensor:
    (kept,), _ = keep_largest([scores.detach().reshape(-1)], [eligible.reshape(-1)], count)
    return kept.view(eligible.shape)


class TrainingPruner(Pruner):
    """A method that changes its masks while the network is trained.

    `prune` makes the masks that the training begins with, and `update` changes them every `interval`
    optimizer steps. The harness checks that the masks have the exact density at every moment, keeps removed
    weights and what the optimizer remembers of them at zero, and lets grown weights begin at zero, or at what
    the update has set as their value, with no momentum. Such a pruner serves the protocol `singleshot`.

    Attributes:
        needs_gradients: True declares that updates need gradients: an update then takes the place of an
            optimizer step.
        every: The optimizer steps from one update to the next; 0 is the method's own number.
        until: The share of the training after which the masks stay as they are.

    Example:
        >>> class Wander(TrainingPruner):
        ...     needs_data = False
        ...
        ...     def prune(self, problem, density):
        ...         draw = lambda p: torch.rand(p.shape, generator=problem.generator)
        ...         random = {name: draw(p) for name, p in problem.parameters.items()}
        ...         return problem.at(problem.masks, density=density, round=1).keep(lambda _: random)[1]
        ...
        ...     def update(self, update):
        ...         smallest = {name: w.abs() for name, w in update.weights.items()}
        ...         return update.grow(update.drop(0.3, smallest), update.random())
        >>> Wander(every=20).due(steps=100, steps_per_epoch=50)
        range(20, 76, 20)
    """

    needs_gradients: ClassVar[bool] = False
    every: int = 0
    until: float = 0.75

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.every < 0:
            raise UsageError(f"every is a number of optimizer steps, 1 or more, not {self.every}")
        if not 0 < self.until <= 1:
            raise UsageError(f"until is a share of the training, above 0 and at most 1, not {self.until:g}")

    @property
    def single_weights(self) -> str | None:
        """The reason why this pruner chooses single weights, whatever the granularity."""
        return "changes single weights in training"

    def update(self, update: MaskUpdate) -> Mapping[str, Tensor]:  # noqa: ARG002
        """Return the next masks, which keep exactly round(`update.density` * N) weights."""
        raise PluginError(f"pruner {type(self).__name__} defines no update()")

    _one_of = (*Pruner._one_of, (update,))

    def density_at(self, progress: float, density: float) -> float:  # noqa: ARG002 - for those that override it
        """Return the density after the share `progress` of the updates; at 1 it is `density`, the cell's.

        At 0 it is the density that the training begins with.
        """
        return density

    def initial(self, weights: Mapping[str, Tensor], density: float) -> Mapping[str, Tensor] | None:  # noqa: ARG002
        """Return other weights to begin the training with; a weight that grows has its value of these.

        By default there are none: the network has its own, and weights grow from zero.
        """
        return None

    def interval(self, steps: int, steps_per_epoch: int) -> int:  # noqa: ARG002 - for those that override it
        """Return the number of optimizer steps between updates for `every = 0`.

        It is 100, or fewer where that gives fewer than ten updates. Where updates take the place of optimizer
        steps it is at least 4, so that the other steps train weights in very short trainings too.
        """
        least = LEAST_WITH_GRADIENTS if self.needs_gradients else 1
        return max(least, min(100, int(self.until * steps) // 10))

    def due(self, steps: int, steps_per_epoch: int) -> range:
        """Return the steps of the updates, by the number of optimizer steps before each.

        Args:
            steps: The optimizer steps of the training.
            steps_per_epoch: Those of an epoch.

        Raises:
            UsageError: The training is over before the first update.
            NotDefinedError: It is, with the method's own `every` and `until`.
            PluginError: `interval` returns no number of steps.
        """
        every = self.every or self.interval(steps, steps_per_epoch)
        if not isinstance(every, int) or isinstance(every, bool) or every < 1:
            raise PluginError(
                f"pruner {type(self).__name__}: interval() returns {every!r}; return a whole number of "
                "optimizer steps, 1 or more"
            )
        due = range(every, min(int(self.until * steps), steps - 1) + 1, every)
        if not due:
            error = UsageError if self.every or self.until != type(self).until else NotDefinedError
            way = "give a smaller number as every=..." if every > 1 else "give a larger share as until=..."
            raise error(
                f"the masks first change after {count(every, 'optimizer step')}, and the training has "
                f"{steps} (until={self.until:g}); {way}, or train longer"
            )
        return due


def update_steps(pruner: TrainingPruner, steps: int, steps_per_epoch: int) -> range:
    """Return the steps of a pruner's updates, which are in the training and in ascending order.

    Raises:
        PluginError: The pruner's `due` returns something else.
        UsageError: As `TrainingPruner.due`, and so is `NotDefinedError`.
    """
    due: Any = pruner.due(steps, steps_per_epoch)
    if isinstance(due, range) and due and due.step > 0 and due[0] >= 0 and due[-1] < steps:
        return due
    raise PluginError(
        f"pruner {type(pruner).__name__}: due() returns {_shown(due)}; return a range of one or more "
        f"optimizer steps in ascending order, from 0 to {steps - 1}"
    )


def density_after(pruner: TrainingPruner, progress: float, density: float, size: int | None = None) -> float:
    """Return a pruner's density after the share `progress` of its updates, where the cell's is `density`.

    Raises:
        PluginError: It is no density, keeps none of `size` weights, or the last one is not that of the cell.
    """
    found: Any = pruner.density_at(progress, density)
    where = f"pruner {type(pruner).__name__}: density_at({progress:g}, {density:g}) returns {_shown(found)}"
    share = float(found) if isinstance(found, Real) else nan
    if not 0 < share <= 1:
        raise PluginError(f"{where}; return a share of the weights, above 0 and at most 1")
    if progress < 1:
        if size is not None and round(share * size) < 1:
            raise PluginError(f"{where}, which keeps none of {size} weights")
        return share
    if not isclose(share, density, rel_tol=1e-9):
        raise PluginError(f"{where}; after the last update it must be that of the cell, {density:g}")
    return density


def first_values(pruner: TrainingPruner, weights: Mapping[str, Tensor], density: float) -> dict[str, Tensor]:
    """Return copies of the weights that a pruner begins the training with, by name; empty for the network's.

    Raises:
        PluginError: They do not fit `weights`, or are not finite.
    """
    copies = {name: weight.detach().clone() for name, weight in weights.items()}
    values: Any = pruner.initial(copies, density)
    if values is None:
        return {}
    where = f"pruner {type(pruner).__name__}: initial()"
    if not isinstance(values, Mapping):
        raise PluginError(f"{where} returns {_shown(values)}; return weights by name, or None")
    _check_values(where, values, weights)
    return {name: value.detach().to(weights[name], copy=True) for name, value in values.items()}


def _check_values(where: str, values: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    for name, value in values.items():
        if name not in weights:
            raise PluginError(f"{where}[{name!r}] is of no prunable weight")
        if not _has_values(value) or value.is_complex():
            raise PluginError(f"{where}[{name!r}] is {_shown(value)}; give a tensor of values")
        if value.shape != weights[name].shape:
            shapes = f"{tuple(value.shape)}, and the weight {tuple(weights[name].shape)}"
            raise PluginError(f"{where}[{name!r}] has shape {shapes}")
        if not bool(value.isfinite().all()):
            raise PluginError(f"{where}[{name!r}] has NaN or infinite values")


def _has_values(value: Any) -> bool:
    """Return True for a tensor with a value for every entry, which checkpoints can keep."""
    return isinstance(value, Tensor) and not value.is_meta and value.layout == torch.strided


def _shown(value: object) -> str:
    """Return a plain value as it is written, and the kind of any other."""
    if isinstance(value, Tensor):
        kind = "a complex tensor" if value.is_complex() else "a tensor"
        return kind if _has_values(value) else "a tensor without values, or a sparse one"
    return repr(value) if isinstance(value, Real | range | str | None) else f"a {type(value).__name__}"


def update_masks(pruner: TrainingPruner, update: MaskUpdate) -> Masks:
    """Ask a pruner for the next masks; the global random generators are left as they were.

    Raises:
        PluginError: The masks or values do not fit the network, the values are not finite, the masks do not
            have the density that is due, or the state is not of tensors by name.
    """
    name = f"pruner {type(pruner).__name__}"
    device = next(iter(update.weights.values())).device
    with own_randomness(device, update.generator.initial_seed() + update.step):
        given: Any = pruner.update(update)
        if not isinstance(given, Mapping):
            raise PluginError(f"{name}: update() returns {_shown(given)}; return masks by name")
        try:
            new = Masks(given).check(update.weights).to(device)
        except PluginError as error:
            raise PluginError(f"{name}: {error}") from error
    state: Mapping[Any, Any] = update.state
    for key, value in state.items():
        if not isinstance(key, str):
            raise PluginError(f"{name}: update.state has the key {key!r}; checkpoints keep tensors by text")
        if not _has_values(value):
            raise PluginError(f"{name}: update.state[{key!r}] is {_shown(value)}; checkpoints keep tensors")
    _check_values(f"{name}: update.values", update.values, update.weights)
    expected = kept_count(update.density, new.size)
    if new.kept != expected:
        raise PluginError(
            f"{name} keeps {new.kept} of {new.size} weights after step {update.step}, where density "
            f"{update.density:g} asks for {expected}; its update() must keep that many"
        )
    return new
