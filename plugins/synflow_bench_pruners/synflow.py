"""SynFlow, Iterative Synaptic Flow Pruning, and its variant with squared weights."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from synflow_bench import Masks, Problem, Pruner
from synflow_bench.pruning import densities
from synflow_bench_pruners.helpers import channels_last, is_unprunable_bias
from synflow_bench_pruners.repeating import RepeatingImages
from synflow_bench_pruners.synflow_rounds import in_compacted_rounds


class SynFlow(Pruner):
    """SynFlow: keep the largest synaptic flow |w| dR/d|w|.

    R is the sum of the outputs for one all-ones input, in 100 exponential rounds without data. Parameters and
    batch-norm statistics are replaced by their absolute values and the network is in evaluation mode, so that
    R is the total flow through all paths. Without biases the scores of every layer sum to R.

    Paper: Tanaka, Kunin, Yamins, Ganguli, "Pruning neural networks without any data by iteratively conserving
    synaptic flow", 2020, arXiv 2006.05467.
    """

    needs_data: ClassVar[bool] = False
    rounds: int = 100

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """Return the share of the total flow that passes through every weight."""
        return flow_shares(problem.transformed(positive))

    @torch.no_grad()
    def flow(self, problem: Problem, scores: Mapping[str, Tensor]) -> float:  # noqa: ARG002 - for subclasses
        """Return R of the masked weights: the sum of the scores of every layer if there are no biases."""
        state = dict(problem.model.named_parameters()) | dict(problem.model.named_buffers())
        ones = torch.ones(1, *problem.input_shape, dtype=problem.dtype, device=problem.device)
        absolute = {name: tensor.abs() for name, tensor in state.items()}
        return float(torch.func.functional_call(problem.model, absolute, ones).double().sum())

    def prune(self, problem: Problem, density: float) -> Masks:
        """Return the masks of all rounds; absolute values are taken once, and dead units are left out."""
        return self.flow_rounds(problem.transformed(positive), density)

    def flow_rounds(self, problem: Problem, density: float) -> Masks:
        """Return the masks of all rounds on a network of positive weights."""
        targets = densities(self.schedule, density, self.rounds, problem.masks.density)
        return in_compacted_rounds(problem, targets, flow_shares, channels_last)


class SynFlowL2(SynFlow):
    """SynFlow-L2: SynFlow with squared weights, w^2 dR/d(w^2).

    R is the sum of the outputs for one all-ones input, in 100 exponential rounds without data, with squares
    in place of absolute values: the sum over all paths of the products of their squared weights, which is the
    trace of the path kernel for inputs of ones. Batch-norm statistics are squared like the parameters, so
    that a batch norm multiplies by the square of its factor.

    Paper: Patil, Dovrolis, "PHEW: Constructing Sparse Networks that Learn Fast and Generalize Well Without
    Training Data", 2021, arXiv 2010.11354.

    Biases and shifts that are not prunable begin no path and are left out: squares of thinned weights soon
    let less through than torch's own biases add, and the first layers of `fc` would empty at compression 10.
    Squares make a residual branch thin beside its identity shortcut, thinner with every round: whole branches
    of `lottery/resnet20` are gone at compression 20.
    """

    revision: ClassVar[int] = 2

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """Return the share of the squared flow that passes through every weight."""
        return flow_shares(problem.transformed(partial(squared, problem)))

    def prune(self, problem: Problem, density: float) -> Masks:
        """Return the masks of all rounds; squares are taken once."""
        return self.flow_rounds(problem.transformed(partial(squared, problem)), density)

    def flow(self, problem: Problem, scores: Mapping[str, Tensor]) -> float:  # noqa: ARG002 - as in SynFlow
        """Return the largest sum of a layer's scores: R if there are no biases."""
        return max(float(score.double().sum()) for score in scores.values())


def positive(name: str, tensor: Tensor) -> Tensor:  # noqa: ARG001 - for all alike
    """Return |tensor|, with channels last."""
    return channels_last(tensor.abs())


def squared(problem: Problem, name: str, tensor: Tensor) -> Tensor:
    """Return the squares, in the memory layout of `positive`; 0 for a bias that is not prunable."""
    return torch.zeros_like(tensor) if is_unprunable_bias(problem, name) else positive(name, tensor).square()


def flow_shares(problem: Problem) -> dict[str, Tensor]:
    """Return w dR/dw of a network of positive weights: the flow through each weight."""
    weights = problem.parameters
    gradients = torch.autograd.grad(total_flow(problem), list(weights.values()), materialize_grads=True)
    pairs = zip(weights.items(), gradients, strict=True)
    return {name: gradient.mul_(weight.detach()) for (name, weight), gradient in pairs}


def total_flow(problem: Problem) -> Tensor:
    """Return R, the sum of f(1; w) for one all-ones input."""
    ones = torch.ones(1, *problem.input_shape, dtype=problem.dtype, device=problem.device)
    with RepeatingImages():
        outputs: Tensor = problem.model(ones)
    return outputs.sum()
