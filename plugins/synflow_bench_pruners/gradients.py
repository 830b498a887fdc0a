"""Gradients of the loss over the whole scoring set."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from synflow_bench import Problem


def batch_losses(problem: Problem, temperature: float = 1.0) -> Iterator[Tensor]:
    """The summed loss of each batch of scoring data, with logits divided by `temperature`."""
    for inputs, labels in problem.batches():
        yield problem.loss(problem.model(inputs) / temperature, labels) * len(labels)


def summed_gradients(problem: Problem, temperature: float = 1.0) -> list[Tensor]:
    """d(sum of losses)/dw for every prunable tensor, in their order."""
    weights = list(problem.parameters.values())
    total = [torch.zeros_like(w) for w in weights]
    for loss in batch_losses(problem, temperature):
        torch._foreach_add_(total, torch.autograd.grad(loss, weights, materialize_grads=True))
    return total
