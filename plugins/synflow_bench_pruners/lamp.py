"""LAMP: layer-adaptive magnitude-based pruning."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from synflow_bench import Problem, Pruner


class Lamp(Pruner):
    """LAMP: layer-adaptive magnitudes in one global ranking.

    The score of weight u is w_u^2 / (sum of w_v^2 over the weights v of its layer that are not smaller). The
    largest weight of a layer scores 1 and every other at most 1/2, so that no layer loses its last weight
    before all layers are down to one. With local scope the ranking is that of `magnitude`.

    Paper: Lee, Park, Mo, Ahn, Shin, "Layer-adaptive Sparsity for the Magnitude-based Pruning", 2021,
    arXiv 2010.07611. As in the paper, equal weights are put in an order (here by index) and the sum runs over
    those from u on. A tensor of zeros, such as biases at initialization, scores as one of equal weights: 1,
    1/2, 1/3, ... The paper prunes trained networks; the official code sums in float32, here in float64.
    """

    needs_data: ClassVar[bool] = False
    needs_forward: ClassVar[bool] = False

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """Return the share of each weight in the sum of squares of its layer down to it, largest first."""
        return {name: _scores(p.detach()) for name, p in problem.parameters.items()}


def _scores(weights: Tensor) -> Tensor:
    """Return the scores in float64, of the shape of `weights`."""
    largest_first, order = weights.reshape(-1).abs().sort(descending=True, stable=True)
    # Relative to the largest, no square that matters underflows.
    ratios = largest_first.double() / largest_first[0]
    squares = torch.where(largest_first[0] == 0, torch.ones_like(ratios), ratios).square_()
    scores = torch.empty_like(squares)
    scores[order] = squares / squares.cumsum(0)
    return scores.view(weights.shape)
