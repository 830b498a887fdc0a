"""SynFlow: Iterative Synaptic Flow Pruning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from synflow_bench import Masks, Problem, Pruner
from synflow_bench.pruning import densities
from synflow_bench_pruners.layout import channels_last
from synflow_bench_pruners.repeating import RepeatingImages
from synflow_bench_pruners.shrinking_rounds import in_shrinking_rounds


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
        return flow_shares(problem.transformed(positive))

    @torch.no_grad()
    def flow(self, problem: Problem, scores: Mapping[str, Tensor]) -> float:  # noqa: ARG002 - for subclasses
        """R of the weights that `problem` masks: what every layer's scores sum to where there is no bias."""
        state = dict(problem.model.named_parameters()) | dict(problem.model.named_buffers())
        ones = torch.ones(1, *problem.input_shape, dtype=problem.dtype, device=problem.device)
        absolute = {name: tensor.abs() for name, tensor in state.items()}
        return float(torch.func.functional_call(problem.model, absolute, ones).double().sum())

    def prune(self, problem: Problem, density: float) -> Masks:
        """Take absolute values once for all rounds, and leave out what no path reaches any more."""
        return self.flow_rounds(problem.transformed(positive), density)

    def flow_rounds(self, problem: Problem, density: float) -> Masks:
        """The rounds, on a network of positive weights."""
        targets = densities(self.schedule, density, self.rounds, problem.masks.density)
        return in_shrinking_rounds(problem, targets, flow_shares, channels_last)


def positive(name: str, tensor: Tensor) -> Tensor:  # noqa: ARG001 - for all alike
    """|tensor|, with channels last."""
    return channels_last(tensor.abs())


def flow_shares(problem: Problem) -> dict[str, Tensor]:
    """w dR/dw of a network of positive weights: what flows through each."""
    weights = problem.parameters
    gradients = torch.autograd.grad(total_flow(problem), list(weights.values()), materialize_grads=True)
    pairs = zip(weights.items(), gradients, strict=True)
    return {name: gradient.mul_(weight.detach()) for (name, weight), gradient in pairs}


def total_flow(problem: Problem) -> Tensor:
    """R = sum of f(1; w), for one all-ones input."""
    ones = torch.ones(1, *problem.input_shape, dtype=problem.dtype, device=problem.device)
    with RepeatingImages():
        outputs: Tensor = problem.model(ones)
    return outputs.sum()
