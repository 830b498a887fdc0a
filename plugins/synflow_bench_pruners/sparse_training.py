"""Dynamic sparse training: sparse from the beginning, with masks that drop and grow weights."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from math import cos, pi
from typing import ClassVar, Literal

from torch import Tensor

from synflow_bench import Masks, MaskUpdate, Problem, TrainingPruner
from synflow_bench.errors import UsageError
from synflow_bench.pruning import Pruner
from synflow_bench_pruners.layer_densities import Erk, Uniform

Layers = Literal["erk", "uniform"]
_LAYERS: Mapping[Layers, type[Pruner]] = {"erk": Erk, "uniform": Uniform}


class SparseTraining(TrainingPruner, ABC):
    """Random masks that keep their layer densities, while an update moves a share of each layer.

    Args:
        layers: The density of the layers: `erk`, Erdős-Rényi with kernels, or `uniform`.
        drop: The share of a layer's weights that an update drops.
    """

    needs_data: ClassVar[bool] = False
    needs_forward: ClassVar[bool] = False
    every: int = 0
    until: float = 0.75
    layers: Layers = "erk"
    drop: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rounds != 1:
            raise UsageError(
                f"{type(self).__name__} begins with random masks: rounds={self.rounds} has no effect"
            )
        if not 0 < self.drop < 1:
            raise UsageError(f"drop is the share of weights that move, between 0 and 1, not {self.drop:g}")

    def prune(self, problem: Problem, density: float) -> Masks:
        """Return random masks of the densities of `layers`."""
        return _LAYERS[self.layers]().prune(problem, density)


class Set(SparseTraining):
    """SET: every epoch, drop the smallest |w|, grow at random.

    Each layer drops the share `drop` of its positive weights that are closest to zero and the same share of
    its negative ones, rounded down, and grows as many at random places, with the value zero. The network has
    the same number of weights in every layer from the beginning to the end.

    Paper: Mocanu, Mocanu, Stone, Nguyen, Gibescu, Liotta, "Scalable training of artificial neural networks
    with adaptive sparse connectivity inspired by network science", 2018, arXiv 1707.04780, with drop = 0.3
    and Erdős-Rényi densities.

    In the official code (dcmocanu/sparse-evolutionary-artificial-neural-networks) the number of dropped
    weights is larger by one of either sign, the classifier is dense, and the optimizer begins anew after
    every epoch. Weights grow from zero in its Keras version and from N(0, 0.01) in the sparse one, also those
    that are dropped and drawn again at once. Here the optimizer goes on, and such a weight keeps its value,
    as in the SET of google-research/rigl.

    Args:
        layers: The density of the layers: `erk`, Erdős-Rényi with kernels, or `uniform`.
        drop: The share of a layer's weights that an update drops.
        every: The optimizer steps from one update to the next; 0 is one epoch.
        until: The share of the training after which the masks stay as they are.
    """

    until: float = 1.0

    def interval(self, steps: int, steps_per_epoch: int) -> int:  # noqa: ARG002
        """Return one epoch."""
        return steps_per_epoch

    def update(self, update: MaskUpdate) -> Masks:
        """Drop the weights of either sign that are closest to zero, and grow at random."""
        kept = {name: self._far_from_zero(w, update.masks[name]) for name, w in update.weights.items()}
        return update.grow(kept, update.random())

    def _far_from_zero(self, weight: Tensor, mask: Tensor) -> Tensor:
        """Return the mask without zeros, and without the `drop` share of either sign nearest to zero."""
        flat = weight.reshape(-1)
        kept = (mask & (weight != 0)).reshape(-1).clone()
        for sign in (flat > 0, flat < 0):
            places = (sign & kept).nonzero().squeeze(1)
            order = flat[places].abs().argsort(stable=True)
            kept[places[order[: int(self.drop * len(places))]]] = False
        return kept.view(mask.shape)


class Rigl(SparseTraining):
    """RigL: drop the smallest |w|, grow by the largest gradients.

    Every `every` steps each layer drops the share f_t = drop / 2 (1 + cos(pi t / T)) of its weights with the
    smallest |w|, rounded down, and grows as many, from zero, where the gradient of the loss of the batch is
    largest in size among the weights that are not kept. T is the step after which the masks stay. An update
    takes the place of an optimizer step.

    Paper: Evci, Gale, Menick, Castro, Elsen, "Rigging the Lottery: Making All Tickets Winners", 2020,
    arXiv 1911.11134, with ERK densities, updates every 100 steps for three quarters of the training and
    drop = 0.3.

    In the official code (google-research/rigl) the first update may be at step 0, an update does not count
    as a step, so that `every` optimizer steps lie between two, noise of 1e-5 breaks ties of |w|, `uniform`
    leaves the first layer dense, and the momentum of dropped weights decays, where here it is zero at once;
    it never reaches the network in either.

    Args:
        layers: The density of the layers: `erk`, Erdős-Rényi with kernels, or `uniform`.
        drop: The share of a layer's weights that the first updates drop.
        every: The optimizer steps from one update to the next; 0 is 100, or in short trainings 4 or more.
        until: The share of the training after which the masks stay as they are.
    """

    needs_gradients: ClassVar[bool] = True

    def update(self, update: MaskUpdate) -> Masks:
        """Drop by magnitude and grow by gradient."""
        fraction = self.drop / 2 * (1 + cos(pi * update.step / (self.until * update.steps)))
        kept = update.drop(fraction, {name: w.abs() for name, w in update.weights.items()})
        return update.grow(kept, {name: g.abs() for name, g in update.gradients().items()})
