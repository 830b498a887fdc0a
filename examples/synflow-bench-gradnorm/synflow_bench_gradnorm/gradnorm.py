"""The pruner."""

from __future__ import annotations

import torch
from synflow_bench import Problem, Pruner
from torch import Tensor


class GradNorm(Pruner):
    """Score |dL/dw|, with L the mean loss over the scoring data: keep what training would move first.

    With `per_layer`, the scores of every layer are divided by their Euclidean norm, so that no layer is
    favoured for the scale of its gradients.
    """

    per_layer: bool = False

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """A score for every prunable weight; higher is kept."""
        weights = problem.parameters
        gradients = [torch.zeros_like(weight) for weight in weights.values()]
        for inputs, labels in problem.batches():
            loss = problem.loss(problem.model(inputs), labels) * len(labels)
            parts = torch.autograd.grad(loss, list(weights.values()))
            gradients = [total + part for total, part in zip(gradients, parts, strict=True)]
        return {name: self._scored(total) for name, total in zip(weights, gradients, strict=True)}

    def _scored(self, gradient: Tensor) -> Tensor:
        norm = gradient.norm() if self.per_layer else 1.0
        return gradient.abs() / norm
