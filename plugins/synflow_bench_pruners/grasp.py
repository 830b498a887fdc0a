"""GraSP: Gradient Signal Preservation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor

from synflow_bench import Problem, Pruner
from synflow_bench_pruners.gradients import batch_losses


class Grasp(Pruner):
    """Score w (H g): weights whose removal lowers the norm of the gradient most are kept.

    g = dL/dw and H g = d<stop(g), g>/dw, both over the same scoring set, logits divided by `temperature`, in
    eval mode. Wang, Zhang, Grosse, "Picking Winning Tickets Before Training by Preserving Gradient Flow",
    2020, arXiv 2002.07376. The paper removes the weights with the largest -w (H g): the largest w (H g) stay.
    """

    temperature: float = 200.0

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """The change of the gradient's norm, to first order, when a weight is kept."""
        products = hessian_gradient(problem, self.temperature)
        pairs = zip(problem.parameters.items(), products, strict=True)
        return {name: p.detach() * product for (name, p), product in pairs}


def hessian_gradient(problem: Problem, temperature: float) -> list[Tensor]:
    """H g for every prunable tensor, in their order.

    g is known when the last batch has been seen, whose graph is still there: only the others are seen again.
    """
    weights = list(problem.parameters.values())
    batches, stopped = 0, [torch.zeros_like(w) for w in weights]
    for gradients in _gradients(problem, temperature):
        torch._foreach_add_(stopped, [gradient.detach() for gradient in gradients])
        batches += 1
    total = _along(stopped, gradients, weights)
    for gradients in islice(_gradients(problem, temperature), batches - 1):
        torch._foreach_add_(total, _along(stopped, gradients, weights))
    return total


def _gradients(problem: Problem, temperature: float) -> Iterator[Sequence[Tensor]]:
    """The gradients of each batch for every prunable tensor, with their graph."""
    weights = list(problem.parameters.values())
    for loss in batch_losses(problem, temperature):
        yield torch.autograd.grad(loss, weights, create_graph=True, materialize_grads=True)


def _along(
    direction: Sequence[Tensor], gradients: Sequence[Tensor], weights: Sequence[Tensor]
) -> list[Tensor]:
    """d<direction, gradients>/dw. Not with `grad_outputs`, for which torch would load sympy."""
    product = torch.stack([(d * g).sum() for d, g in zip(direction, gradients, strict=True)]).sum()
    return list(torch.autograd.grad(product, weights, materialize_grads=True))
