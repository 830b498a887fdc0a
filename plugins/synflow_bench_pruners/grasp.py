"""GraSP, Gradient Signal Preservation, and the absolute values of its scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from math import inf
from typing import ClassVar

import torch
from torch import Tensor

from synflow_bench import Problem, Pruner
from synflow_bench.errors import UsageError
from synflow_bench_pruners.helpers import Mode, batch_losses


class Grasp(Pruner):
    """GraSP: keep the weights that preserve gradient flow.

    The score is w (H g) with g = dL/dw and the Hessian-gradient product `H g = d<stop(g), g>/dw`, both over
    the same scoring set, with logits divided by `temperature`. Weights whose removal lowers the norm of the
    gradient most are kept. The paper removes the weights with the largest -w (H g), which is the same.

    Paper: Wang, Zhang, Grosse, "Picking Winning Tickets Before Training by Preserving Gradient Flow", 2020,
    arXiv 2002.07376.

    The authors score in training mode: batch norm normalizes by the statistics of each batch of the scoring
    set. In evaluation mode it does nothing at initialization, the signal grows from block to block of a
    residual network, and the largest scores follow the paths on which it explodes. The research code of
    Tanaka et al. (arXiv 2006.05467) scores in evaluation mode: `grasp[mode=eval]`. The official code has 10
    examples per class, in two batches: the classes of the first half, then those of the second. Here
    the classes are mixed, in batches of at most 256. It also draws the weights of linear layers anew for the
    scores only (Xavier normal); here they are those that are trained.

    Args:
        temperature: The divisor of the logits.
        mode: The mode of the network while it is scored, "train" or "eval".
    """

    revision: ClassVar[int] = 2
    temperature: float = 200.0
    mode: Mode = "train"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.temperature < inf:
            raise UsageError(f"temperature must be a number above 0, not {self.temperature:g}")

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """Return the change of the gradient's norm, to first order, when a weight is kept."""
        products = hessian_gradient(problem, self.temperature, self.mode)
        pairs = zip(problem.parameters.items(), products, strict=True)
        return {name: p.detach() * product for (name, p), product in pairs}


class GraspAbs(Grasp):
    """GraSP with absolute scores: keep the largest |w (H g)|.

    H g is that of `grasp`. Weights whose removal changes the norm of the gradient most, up or down, are kept.

    Paper: Frankle, Dziugaite, Roy, Carbin, "Pruning Neural Networks at Initialization: Why are We Missing the
    Mark?", 2021, arXiv 2009.08576, who find it better than the signed score of Wang, Zhang, Grosse, 2020,
    arXiv 2002.07376, at low compression. The remarks at `grasp` hold here as well.

    Args:
        temperature: The divisor of the logits.
        mode: The mode of the network while it is scored, "train" or "eval".
    """

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """Return the size of the change of the gradient's norm, to first order."""
        return {name: score.abs_() for name, score in super().score(problem).items()}


def hessian_gradient(problem: Problem, temperature: float, mode: Mode) -> list[Tensor]:
    """Return H g for every prunable tensor, in their order.

    g is complete once the last batch has passed, whose autograd graph is still there: only the other batches
    pass again, with the same draws of dropout.
    """
    weights, state = list(problem.parameters.values()), problem.generator.get_state()
    batches, stopped = 0, [torch.zeros_like(w) for w in weights]
    for gradients in _gradients(problem, temperature, mode):
        torch._foreach_add_(stopped, [gradient.detach() for gradient in gradients])
        batches += 1
    total = _derivative_along(stopped, gradients, weights)
    problem.generator.set_state(state)
    for gradients in islice(_gradients(problem, temperature, mode), batches - 1):
        torch._foreach_add_(total, _derivative_along(stopped, gradients, weights))
    return total


def _gradients(problem: Problem, temperature: float, mode: Mode) -> Iterator[Sequence[Tensor]]:
    """Yield the gradients of each batch for every prunable tensor, with their autograd graph."""
    weights = list(problem.parameters.values())
    for loss in batch_losses(problem, temperature, mode):
        yield torch.autograd.grad(loss, weights, create_graph=True, materialize_grads=True)


def _derivative_along(
    direction: Sequence[Tensor], gradients: Sequence[Tensor], weights: Sequence[Tensor]
) -> list[Tensor]:
    """Return d<direction, gradients>/dw. Not with `grad_outputs`, for which torch would load sympy."""
    product = torch.stack([(d * g).sum() for d, g in zip(direction, gradients, strict=True)]).sum()
    return list(torch.autograd.grad(product, weights, materialize_grads=True))
