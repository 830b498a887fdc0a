"""ProsPr: Prospect Pruning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import inf

import torch
from torch import Tensor
from torch.func import functional_call

from synflow_bench import Problem, Pruner
from synflow_bench.errors import UsageError
from synflow_bench.pruning import Examples
from synflow_bench_pruners.helpers import global_draws

Weights = Mapping[str, Tensor]


class ProsPr(Pruner):
    """ProsPr: keep weights that matter after K training steps.

    w_0 = c w with c = 1, w_{t+1} = w_t - lr dL_t/dw_t for t < K without momentum, and the score is
    |dL_K/dc| = |w dL_K/dw_0|. The first order takes dw_K/dw_0 for the identity: |w dL_K/dw_K|. All trained
    parameters take part, biases and batch norm too; the network is in training mode. Weights that are masked
    already stay zero.

    Paper: Alizadeh et al., "Prospect Pruning: Finding Trainable Weights at Initialization using
    Meta-Gradients", 2022, arXiv 2202.08132.

    Every step takes the next batch of the scoring data, and after the last the first again: ten classes have
    one batch for all steps, as in the official code by default, more classes have a new one for every step.
    The official code differentiates through the steps by default and draws its batches of 128 from all
    training data; its first order, like here, is the gradient after the last step times the first weights.

    Args:
        inner_steps: K, the number of training steps.
        inner_lr: lr, their learning rate.
        second_order: Differentiate through the K steps.
        batch: The largest number of examples per batch.
    """

    inner_steps: int = 3
    inner_lr: float = 0.1
    second_order: bool = False
    batch: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.inner_steps < 0 or not 0 < self.inner_lr < inf or self.batch < 1:
            raise UsageError(
                f"inner_steps={self.inner_steps}, inner_lr={self.inner_lr:g}, batch={self.batch}: "
                "inner_steps must be at least 0, inner_lr above 0, and batch at least 1"
            )

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """Return the size of the change of the loss after the inner steps, to first order in each weight."""
        with global_draws(problem):
            problem.model.train()
            gradients = self._gradients(problem)
            problem.model.eval()
        pairs = zip(problem.parameters.items(), gradients, strict=True)
        return {name: (p.detach() * gradient).abs_() for (name, p), gradient in pairs}

    def _gradients(self, problem: Problem) -> tuple[Tensor, ...]:
        """Return dL_K/dw of every prunable tensor, at the first weights (at the last for first order)."""
        batches = _batches(problem, self.batch)
        first = last = _leaves(dict(problem.model.named_parameters()))
        for _ in range(self.inner_steps):
            last = self._step(problem, last, next(batches))
        loss = _loss(problem, last, next(batches))
        origin = first if self.second_order else last
        wanted = [origin[name] for name in problem.parameters]
        return torch.autograd.grad(loss, wanted, materialize_grads=True)

    def _step(self, problem: Problem, weights: Weights, examples: Examples) -> Weights:
        trained = {name: tensor for name, tensor in weights.items() if tensor.requires_grad}
        gradients = torch.autograd.grad(
            _loss(problem, weights, examples),
            list(trained.values()),
            create_graph=self.second_order,
            materialize_grads=True,
        )
        moved = {
            name: tensor - self.inner_lr * _masked(problem, name, gradient)
            for (name, tensor), gradient in zip(trained.items(), gradients, strict=True)
        }
        return {**weights, **(moved if self.second_order else _leaves(moved))}


def _leaves(weights: Weights) -> Weights:
    """Return copies without autograd history that require gradients if the originals do."""
    return {name: t.detach().clone().requires_grad_(t.requires_grad) for name, t in weights.items()}


def _loss(problem: Problem, weights: Weights, examples: Examples) -> Tensor:
    """Return the mean loss in training mode; buffers are copied, so that batch norm's statistics stay."""
    inputs, labels = examples
    buffers = {name: buffer.clone() for name, buffer in problem.model.named_buffers()}
    return problem.loss(functional_call(problem.model, {**weights, **buffers}, (inputs,)), labels)


def _masked(problem: Problem, name: str, gradient: Tensor) -> Tensor:
    return gradient * problem.masks[name] if name in problem.masks else gradient


def _batches(problem: Problem, size: int) -> Iterator[Examples]:
    """Yield the scoring data repeatedly, in parts of at most `size` that are as equal as possible.

    A last part of one example would leave batch norm no variance to normalize by.
    """
    number = len(problem.examples[1]) if problem.examples else size
    parts = -(-number // size)
    while True:
        yield from problem.batches(-(-number // parts))
