"""ProsPr: Prospect Pruning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import inf
from typing import ClassVar

import torch
from torch import Tensor

from synflow_bench import Problem, Pruner
from synflow_bench.errors import UsageError
from synflow_bench.pruning import Examples
from synflow_bench_pruners.helpers import Mode, equal_batches, in_mode, logits_of

Weights = Mapping[str, Tensor]

RATES = (0.1, 0.01, 0.001, 0.0001)
"""The learning rates of the inner steps, tried in turn by default; the first is the published one."""


class ProsPr(Pruner):
    """ProsPr: keep weights that matter after K training steps.

    w_0 = c w with c = 1, w_{t+1} = w_t - lr dL_t/dw_t for t < K without momentum, and the score is
    |dL_K/dc| = |w dL_K/dw_0|, differentiated through all steps. The first order, which costs less memory,
    takes dw_K/dw_0 for the identity: |w dL_K/dw_K|. All trained parameters take part, biases and batch norm
    too; the network is in training mode. Weights that are masked already stay zero.

    Paper: Alizadeh et al., "Prospect Pruning: Finding Trainable Weights at Initialization using
    Meta-Gradients", 2022, arXiv 2202.08132.

    Every step takes the next batch of the scoring data, and after the last the first again: ten classes have
    one batch for all steps, as in the official code by default, more classes have a new one for every step.
    The official code draws its batches of 128 from all training data; its first order, like here, is the
    gradient after the last step times the first weights.

    The published learning rate of the inner steps, 0.1, is one for networks with batch norm. Without it, the
    steps may diverge, and scores after them say nothing about training. By default the rate is therefore
    divided by ten while the steps raise the loss of the batch that follows them, and a warning says so; a
    given rate is kept, with a warning.

    Args:
        inner_steps: K, the number of training steps.
        inner_lr: lr, their learning rate. 0, the default, is 0.1, or the first tenth of it, hundredth, ... at
            which the loss does not rise.
        second_order: Differentiate through the K steps.
        batch: The largest number of examples per batch.
        mode: The mode of the network while it is scored, "train" or "eval".
    """

    revision: ClassVar[int] = 2
    inner_steps: int = 3
    inner_lr: float = 0.0
    second_order: bool = True
    batch: int = 256
    mode: Mode = "train"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.inner_steps < 0 or not 0 <= self.inner_lr < inf or self.batch < 1:
            raise UsageError(
                f"inner_steps={self.inner_steps}, inner_lr={self.inner_lr:g}, batch={self.batch}: "
                "inner_steps and inner_lr must be at least 0, and batch at least 1"
            )

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """Return the size of the change of the loss after the inner steps, to first order in each weight."""
        with in_mode(problem, self.mode):
            gradients = self._gradients(problem)
        pairs = zip(problem.parameters.items(), gradients, strict=True)
        return {name: (p.detach() * gradient).abs_() for (name, p), gradient in pairs}

    def _gradients(self, problem: Problem) -> tuple[Tensor, ...]:
        """Return dL_K/dw of every prunable tensor, at the first weights (at the last for first order)."""
        first = _leaves(dict(problem.model.named_parameters()))
        rates = [self.inner_lr] if self.inner_lr else RATES
        for rate in rates:
            falls, gradients = self._after_steps(problem, first, rate, wanted=rate == rates[-1])
            if falls:
                break
        if not falls:
            problem.warn(f"the loss rises in the inner steps of prospr at learning rate {rate:g}")
        elif not self.inner_lr and rate != RATES[0]:
            problem.warn(
                f"the loss rises in the inner steps of prospr at the published learning rate {RATES[0]:g}; "
                f"they were made with {rate:g}"
            )
        return gradients

    def _after_steps(
        self, problem: Problem, first: Weights, rate: float, *, wanted: bool
    ) -> tuple[bool, tuple[Tensor, ...]]:
        """Return True if the inner steps do not raise the last batch's loss, and the gradients.

        There are none if the loss rises, unless they are wanted. The graph of the steps ends with this call:
        that of two rates would need twice the memory.
        """
        batches, last = _batches(problem, self.batch), first
        for _ in range(self.inner_steps):
            last = self._step(problem, last, next(batches), rate)
        examples = next(batches)
        after = _loss(problem, last, examples)
        with torch.no_grad():
            falls = bool(after <= _loss(problem, first, examples))
        if not (falls or wanted):
            return falls, ()
        origin = first if self.second_order else last
        sources = [origin[name] for name in problem.parameters]
        return falls, torch.autograd.grad(after, sources, materialize_grads=True)

    def _step(self, problem: Problem, weights: Weights, examples: Examples, rate: float) -> Weights:
        trained = {name: tensor for name, tensor in weights.items() if tensor.requires_grad}
        loss = _loss(problem, weights, examples)
        gradients = torch.autograd.grad(
            loss, list(trained.values()), create_graph=self.second_order, materialize_grads=True
        )
        moved = {
            name: tensor - rate * _masked(problem, name, gradient)
            for (name, tensor), gradient in zip(trained.items(), gradients, strict=True)
        }
        return {**weights, **(moved if self.second_order else _leaves(moved))}


def _leaves(weights: Weights) -> Weights:
    """Return copies without autograd history that require gradients if the originals do."""
    return {name: t.detach().clone().requires_grad_(t.requires_grad) for name, t in weights.items()}


def _loss(problem: Problem, weights: Weights, examples: Examples) -> Tensor:
    """Return the mean loss with other weights."""
    inputs, labels = examples
    return problem.loss(logits_of(problem, inputs, weights), labels)


def _masked(problem: Problem, name: str, gradient: Tensor) -> Tensor:
    return gradient * problem.masks[name] if name in problem.masks else gradient


def _batches(problem: Problem, size: int) -> Iterator[Examples]:
    """Yield the scoring data repeatedly, in equal batches of at most `size`."""
    while True:
        yield from equal_batches(problem, size)
