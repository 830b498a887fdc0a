"""Progressive skeletonization: iterative SNIP and FORCE score again as the network gets sparser."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from torch import Tensor

from synflow_bench import Masks, Problem, Pruner
from synflow_bench.errors import UsageError
from synflow_bench.pruning import densities
from synflow_bench_pruners.helpers import Mode, sampled, summed_gradients

BATCH = 128
"""Examples per batch in the paper's experiments on small images."""


class IterSnip(Pruner):
    """Iterative SNIP: keep the largest |w g|, round by round.

    The score is |w m g| with g = dL/dw at w m, the weights w masked by m, in 10 exponential rounds. A weight
    that is removed stays removed.

    Paper: de Jorge, Sanyal, Behl, Torr, Rogez, Dokania, "Progressive Skeletonization: Trimming more fat from
    a network at initialization", 2021, arXiv 2006.09081.

    The authors score each round on 1, 10, 20 or 40 batches of 128 for CIFAR-10, CIFAR-100, Tiny ImageNet or
    ImageNet: 12.8 examples per class, and 5.1 on ImageNet. The scoring set has ten per class by default. The
    official code draws its batches from the augmented training set, and its loss is the negative logit of the
    label (`nll_loss` of raw logits), not cross entropy. It scores in training mode, which the paper does not
    mention: `iter-snip[mode=train]`. With batch norm that was no better at compression 20, and `force` was
    less reliable at 100, so that the default is the mode of `snip`. Its default is 10 rounds; its
    instructions use 60.

    Args:
        batches: The number of batches of 128 that every round draws anew from the scoring set, at most all of
            it. With 0, the default, every round uses the whole set.
        mode: The mode of the network while it is scored, "eval" or "train".
    """

    rounds: int = 10
    batches: int = 0
    newer: ClassVar[frozenset[str]] = frozenset({"mode"})
    mode: Mode = "eval"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batches < 0:
            raise UsageError(f"batches must be 0, for all scoring data, or more, not {self.batches}")

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """Return the size of the change of the loss, to first order, when a remaining weight is removed."""
        return dict(self._sensitivities(problem, problem.parameters))

    def _sensitivities(self, problem: Problem, weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """Yield |weights * g| with g of the masked network."""
        data = sampled(problem, self.batches * BATCH) if self.batches else problem
        gradients = summed_gradients(data, mode=self.mode)
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
            yield name, (weight.detach() * gradient).abs_()


class Force(IterSnip):
    """FORCE: iterative SNIP whose removed weights may return.

    The score is |w g| with the weight w before any mask and g = dL/dw at w m, in 10 exponential rounds. A
    masked weight also has a gradient in the masked network, and competes with all others in every round.

    Paper: de Jorge, Sanyal, Behl, Torr, Rogez, Dokania, "Progressive Skeletonization: Trimming more fat from
    a network at initialization", 2021, arXiv 2006.09081. The remarks at `iter-snip` hold here as well.

    Args:
        batches: The number of batches of 128 that every round draws anew from the scoring set, at most all of
            it. With 0, the default, every round uses the whole set.
        mode: The mode of the network while it is scored, "eval" or "train".
    """

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """Return the size of the change of the loss, to first order, when a weight is removed or returns."""
        return dict(self._sensitivities(problem, problem.dense))

    def prune(self, problem: Problem, density: float) -> Masks:
        """Return the masks after rounds in which every weight competes."""
        masks = problem.masks
        targets = densities(self.schedule, density, self.rounds, masks.density)
        for round, target in enumerate(targets, start=1):
            problem, masks = problem.at(masks, density=target, round=round).keep(self.score, revive=True)
        return masks
