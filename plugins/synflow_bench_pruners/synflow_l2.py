"""SynFlow-L2: synaptic flow through squared weights."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from synflow_bench import Masks, Problem
from synflow_bench_pruners.biases import is_unprunable_bias
from synflow_bench_pruners.synflow import SynFlow, flow_shares, positive


class SynFlowL2(SynFlow):
    """Score w^2 dR/d(w^2), with R the sum of the outputs for one all-ones input, in 100 exponential rounds.

    As `synflow` with squares for absolute values: R is the sum over all paths of the products of their
    squared weights, the trace of the path kernel for inputs of ones. Batch-norm statistics are squared like
    the parameters, so that a batch norm multiplies by the square of what it multiplied by. Biases and shifts
    that are not prunable begin no path and are left out: squares of thinned weights soon let less through
    than torch's own biases add, and the first layers of `fc` would empty at compression 10.
    Patil, Dovrolis, "PHEW: Constructing Sparse Networks that Learn Fast and Generalize Well Without Training
    Data", 2021, arXiv 2010.11354.

    Squares make a residual branch thin beside its identity shortcut, thinner with every round: whole branches
    of `lottery/resnet20` are gone at compression 20.
    """

    revision: ClassVar[int] = 2

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """The share of the squared flow that passes through every weight."""
        return flow_shares(problem.transformed(partial(squared, problem)))

    def prune(self, problem: Problem, density: float) -> Masks:
        """Take squares once for all rounds."""
        return self.flow_rounds(problem.transformed(partial(squared, problem)), density)

    def flow(self, problem: Problem, scores: Mapping[str, Tensor]) -> float:  # noqa: ARG002 - as in SynFlow
        """The largest sum of a layer's scores: R where there is no bias."""
        return max(float(score.double().sum()) for score in scores.values())


def squared(problem: Problem, name: str, tensor: Tensor) -> Tensor:
    """The squares, laid out as `synflow` lays out absolute values; 0 for a bias that is not prunable."""
    return torch.zeros_like(tensor) if is_unprunable_bias(problem, name) else positive(name, tensor).square()
