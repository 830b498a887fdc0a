"""The pruner."""

from __future__ import annotations

import torch
from synflow_bench import Problem, Pruner
from torch import Tensor


class GradNorm(Pruner):
    """Score |dL/dw| for the mean loss L over the scoring data.

    Weights that training would change most at first are kept.

    Attributes:
        per_layer: Divide the scores of every layer by their Euclidean norm, so that the scale of a layer's
            gradients does not matter.
    """

    per_layer: bool = False

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """Return one score per prunable weight; the highest scores are kept."""
        weights = problem.parameters
        gradients = [torch.zeros_like(weight) for weight in weights.values()]
        for inputs, labels in problem.batches():
            loss = problem.loss(problem.model(inputs), labels) * len(labels)
            parts = torch.autograd.grad(loss, list(weights.values()))
            gradients = [total + part for total, part in zip(gradients, parts, strict=True)]
        return {name: self._scores(total) for name, total in zip(weights, gradients, strict=True)}

    def _scores(self, gradient: Tensor) -> Tensor:
        norm = gradient.norm() if self.per_layer else 1.0
        return gradient.abs() / norm
