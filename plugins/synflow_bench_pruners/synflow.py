"""SynFlow: Iterative Synaptic Flow Pruning."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.func import functional_call

from synflow_bench import Problem, Pruner


class SynFlow(Pruner):
    """Score |w| dR/d|w|, with R the sum of the outputs for one all-ones input, in 100 exponential rounds.

    Parameters and batch-norm statistics are replaced by their absolute values and the network is in eval
    mode, so that R is the total flow through all paths. Without biases every layer's scores sum to R.
    Tanaka, Kunin, Yamins, Ganguli, "Pruning neural networks without any data by iteratively conserving
    synaptic flow", 2020, arXiv 2006.05467.
    """

    needs_data: ClassVar[bool] = False
    rounds: int = 100

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """The share of the total flow that passes through every weight."""
        state = absolute_state(problem)
        weights = {name: state[name].requires_grad_() for name in problem.parameters}
        total = total_flow(problem, state)
        gradients = torch.autograd.grad(total, list(weights.values()), materialize_grads=True)
        pairs = zip(weights.items(), gradients, strict=True)
        return {name: gradient.mul_(weight.detach()) for (name, weight), gradient in pairs}


def absolute_state(problem: Problem) -> dict[str, Tensor]:
    """|parameters| and |buffers| of the network as it is masked now; buffers that count or select stay."""
    model = problem.model
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: t.detach().abs() if t.is_floating_point() else t for name, t in tensors.items()}


def total_flow(problem: Problem, state: dict[str, Tensor]) -> Tensor:
    """R = sum of f(1; state), for one all-ones input."""
    ones = torch.ones(1, *problem.input_shape, dtype=problem.dtype, device=problem.device)
    outputs: Tensor = functional_call(problem.model, state, (ones,))
    return outputs.sum()
