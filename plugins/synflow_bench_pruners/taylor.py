"""FTS and HTS: the change of the loss to second order, with the Fisher or the Hessian diagonal."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import inf

import torch
from torch import Tensor

from synflow_bench import Problem, Pruner
from synflow_bench.errors import UsageError
from synflow_bench_pruners.helpers import Mode, equal_batches, in_mode, logits_of

Draw = Callable[[], Sequence[Tensor]]
"""Draws a probe, a tensor for every prunable tensor in their order."""


class SecondOrder(Pruner, ABC):
    """Scores |w g + w^2 h / 2| with a diagonal h; both are means over batches of the scoring data."""

    temperature: float = 1.0
    batch: int = 1
    mode: Mode = "eval"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.temperature < inf:
            raise UsageError(f"temperature must be a number above 0, not {self.temperature:g}")
        if self.batch < 1:
            raise UsageError(f"batch must be at least 1, not {self.batch}")
        if self.mode == "train" and self.batch == 1:
            raise UsageError("batch=1 leaves batch norm no variance in mode=train; set batch to 2 or more")

    @abstractmethod
    def score(self, problem: Problem) -> dict[str, Tensor]:
        """Return the size of the change of the loss, to second order, when a weight is removed."""

    def losses(self, problem: Problem) -> Iterator[Tensor]:
        """Yield the mean loss of each batch."""
        for inputs, labels in equal_batches(problem, self.batch):
            with in_mode(problem, self.mode):
                logits = logits_of(problem, inputs)
            yield problem.loss(logits / self.temperature, labels)


class Fts(SecondOrder):
    """FTS: keep the weights with the largest |w g + w^2 F / 2|.

    Fisher-Taylor sensitivity: g = dL/dw and the diagonal F of the empirical Fisher matrix, the mean square of
    the gradients of single examples, are both means over the scoring set. It is the change of the loss to
    second order when a weight is removed, but for the sign of its first term, with F in place of the
    Hessian's diagonal.

    Paper: Gollini Navarrete, Cuadrado Ávila, Takáč, Horváth, "What Scalable Second-Order Information Knows
    for Pruning at Initialization", 2025, arXiv 2502.11450.

    The official code scores in evaluation mode as here, with 10 examples per class one by one, and keeps the
    classifier dense. By option it first sets batch norm's statistics to those of training data, to which
    `fts[mode=train,batch=256]` comes nearest. It divides the logits by 200 for `hts`, and not for this score.

    Args:
        temperature: The divisor of the logits.
        batch: The number of examples per squared gradient; 1 is the empirical Fisher matrix.
        mode: The mode of the network while it is scored, "train" or "eval".
    """

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """Return |w g + w^2 F / 2|."""
        weights = list(problem.parameters.values())
        gradient, fisher = ([torch.zeros_like(w) for w in weights] for _ in range(2))
        for number, loss in enumerate(self.losses(problem), start=1):  # noqa: B007 - used after the loop
            found = torch.autograd.grad(loss, weights, materialize_grads=True)
            torch._foreach_add_(gradient, found)
            torch._foreach_addcmul_(fisher, found, found)
        return sensitivities(problem, gradient, fisher, number)


class Hts(SecondOrder):
    """HTS: keep the weights with the largest |w g + w^2 h / 2|.

    Hutchinson-Taylor sensitivity: g = dL/dw and Hutchinson's estimate h of the Hessian's diagonal, the mean
    of z * (H z) over random probes z of signs, are both means over the scoring set, with logits divided by
    `temperature`. It is the change of the loss to second order when a weight is removed, but for the sign of
    its first term.

    Paper: Gollini Navarrete, Cuadrado Ávila, Takáč, Horváth, "What Scalable Second-Order Information Knows
    for Pruning at Initialization", 2025, arXiv 2502.11450.

    The official code scores in evaluation mode as here, with 10 examples per class one by one and 10 probes
    each, and keeps the classifier dense. Its probes move biases and scales too; here they move what is
    prunable, which has the same mean and less noise. The remark on batch norm at `fts` holds here as well.

    Args:
        temperature: The divisor of the logits.
        batch: The number of examples that share their probes.
        mode: The mode of the network while it is scored, "train" or "eval".
        probes: The number of probes for each batch.
    """

    temperature: float = 200.0
    probes: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.probes < 1:
            raise UsageError(f"probes must be at least 1, not {self.probes}")

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """Return |w g + w^2 h / 2|."""
        return self.with_probes(problem, partial(signs, problem))

    def with_probes(self, problem: Problem, draw: Draw) -> dict[str, Tensor]:
        """Return the scores for probes that `draw` gives."""
        weights = list(problem.parameters.values())
        gradient, diagonal = ([torch.zeros_like(w) for w in weights] for _ in range(2))
        for number, loss in enumerate(self.losses(problem), start=1):  # noqa: B007 - used after the loop
            found = torch.autograd.grad(loss, weights, create_graph=True, materialize_grads=True)
            torch._foreach_add_(gradient, [each.detach() for each in found])
            for _ in range(self.probes):
                probe = draw()
                along = torch.stack([(g * z).sum() for g, z in zip(found, probe, strict=True)]).sum()
                product = torch.autograd.grad(along, weights, retain_graph=True, materialize_grads=True)
                torch._foreach_addcmul_(diagonal, product, list(probe), value=1 / self.probes)
        return sensitivities(problem, gradient, diagonal, number)


def sensitivities(
    problem: Problem, gradient: Sequence[Tensor], diagonal: Sequence[Tensor], number: int
) -> dict[str, Tensor]:
    """Return |w g + w^2 h / 2| where g and h are `gradient` and `diagonal` divided by `number`."""
    rows = zip(problem.parameters.items(), gradient, diagonal, strict=True)
    return {
        name: (p.detach() * (g + p.detach() * h / 2) / number).abs_().detach() for (name, p), g, h in rows
    }


def signs(problem: Problem) -> list[Tensor]:
    """Draw 1 and -1 with equal probability for every prunable weight."""
    return [
        (2 * torch.randint(2, p.shape, generator=problem.generator) - 1).to(p)
        for p in problem.parameters.values()
    ]
