"""Iterative SNIP: connection sensitivity, scored again as the network gets sparser."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from synflow_bench import Problem, Pruner
from synflow_bench.errors import UsageError
from synflow_bench_pruners.gradients import summed_gradients
from synflow_bench_pruners.scoring_sample import sampled

BATCH = 128
"""Examples a batch in the paper's experiments on small images."""


class IterSnip(Pruner):
    """Score |w m g|, g = dL/dw at w m, in 10 exponential rounds; what is removed stays removed.

    de Jorge, Sanyal, Behl, Torr, Rogez, Dokania, "Progressive Skeletonization: Trimming more fat from a
    network at initialization", 2021, arXiv 2006.09081.

    The authors score each round on 1, 10, 20 or 40 batches for CIFAR-10, CIFAR-100, Tiny ImageNet or
    ImageNet: at 128 a batch 12.8 examples a class, and 5.1 on ImageNet. The scoring set has ten a class by
    default, and `batches = 0`, the default, takes all of it in every round. With a larger scoring set,
    `batches` draws that many batches of 128 from it anew in each round, as the official code does from the
    augmented training set; never more than the set. The official code scores in train mode, here batch norm
    is in eval mode as for `snip`. Its default is 10 rounds; its instructions use 60.
    """

    rounds: int = 10
    batches: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batches < 0:
            raise UsageError(f"batches must be 0, for all scoring data, or more, not {self.batches}")

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """How much the loss changes, to first order, when a weight that is left is removed."""
        return dict(self._sensitivities(problem, problem.parameters))

    def _sensitivities(self, problem: Problem, weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """|weights * g| with g of the masked network."""
        data = sampled(problem, self.batches * BATCH) if self.batches else problem
        gradients = summed_gradients(data)
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
            yield name, (weight.detach() * gradient).abs_()
