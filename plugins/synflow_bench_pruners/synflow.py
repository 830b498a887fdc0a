"""SynFlow, Iterative Synaptic Flow Pruning, and its variant with squared weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.utils._pytree import tree_map

from synflow_bench import Masks, Problem, Pruner
from synflow_bench.graph import call_with
from synflow_bench.pruning import PrecisionError, ResidualScale, densities, is_bias
from synflow_bench_pruners.helpers import (
    additive_masks,
    channels_last,
    made_up_inputs,
    square_of,
    sum_of,
    unchanged,
)
from synflow_bench_pruners.repeating import RepeatingImages, has_equal_weights
from synflow_bench_pruners.synflow_rounds import in_compacted_rounds

Change = Callable[[str, Tensor], Tensor]
"""A function of a name and a tensor that returns other values for it."""

_SUMS = """
    Add Addmm AdaptiveAvgPool1D AdaptiveAvgPool2D AdaptiveAvgPool3D AdaptiveMaxPool2D Alias AsStrided
    AvgPool2D AvgPool3D Baddbmm Bmm Cat Clone ConstantPadNd Convolution CudnnBatchNorm Expand Index LeakyRelu
    MaxPool2DWithIndices MaxPool3DWithIndices Mean MiopenBatchNorm Mm Mul NativeBatchNorm Permute PreluKernel
    Relu Repeat ReshapeAlias Roll Select Slice Split SplitWithSizes Squeeze Stack Sum T ToCopy Transpose
    UnsafeSplit UnsafeView Unsqueeze View _Convolution torch::autograd::AccumulateGrad
"""

PLAIN = frozenset(_SUMS.split())
"""Operations that only add and multiply positive numbers, for which float32 is accurate.

Other operations may subtract numbers that are nearly equal, such as the derivative 1 - tanh^2.
"""

CANCELLED = 1e-3
"""The share of a layer's absolute flow that cancels, from which float32 is not enough."""

DIMINISHED = 1e-4
"""The flow of a layer as a share of the total, below which it may be rounding noise alone."""

DRAWS = 8
"""The number of small changes of the weights that show whether scores are rounding noise."""

LEVELS = 64
"""The number of levels, each 2^-8 of the one before, at which a saturated network is tried."""

ROUNDING = 1e-12
"""The share of R below which a flow from the input may be rounding noise in float64."""

LINEAR = 1e-3
"""The relative difference from the flow at the lowest level below which activations are linear."""


class SynFlow(Pruner):
    """SynFlow: keep the largest synaptic flow |w dR/d|w||.

    R is the sum of the outputs for one all-ones input, in 100 exponential rounds without data. Parameters and
    batch-norm statistics are replaced by their absolute values and the network is in evaluation mode, so that
    R is the total flow through all paths. Without biases the scores of every layer sum to R. The derivative
    can be negative behind normalization over features, gates and softmax; the score is its absolute value, as
    in the paper's code.

    Paper: Tanaka, Kunin, Yamins, Ganguli, "Pruning neural networks without any data by iteratively conserving
    synaptic flow", 2020, arXiv 2006.05467.

    Where flows cancel or activations may saturate, all scores are computed in float64. Token ids are replaced
    by ones at the output of their embeddings, and embeddings of positions keep their absolute values. Buffers
    that only exclude, such as a causal mask of -inf, stay as they are. If no flow from the input reaches the
    output, because activations such as ReLU6 are saturated, the input and all biases are scaled down until
    the activations are linear.
    """

    needs_data: ClassVar[bool] = False
    revision: ClassVar[int] = 2
    rounds: int = 100

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """Return the share of the total flow that passes through every weight."""
        shares = flow_shares(problem.transformed(_except_masks(problem, self.values)))
        return {name: share.abs_() for name, share in shares.items()}

    def values(self, name: str, tensor: Tensor) -> Tensor:  # noqa: ARG002 - all are treated alike
        """Return the absolute values of a parameter or statistic, with channels last."""
        return channels_last(tensor.abs())

    @torch.no_grad()
    def flow(self, problem: Problem, scores: Mapping[str, Tensor]) -> float:  # noqa: ARG002 - for subclasses
        """Return R of the masked weights: the sum of the scores of every layer if there are no biases."""
        state = dict(problem.model.named_parameters()) | dict(problem.model.named_buffers())
        kept = additive_masks(problem.model)
        absolute = {name: tensor.abs() for name, tensor in state.items() if name not in kept}
        with made_up_inputs(problem, torch.ones_like) as inputs:
            outputs = call_with(problem.model, absolute, inputs)
        return float(sum_of(tree_map(Tensor.double, outputs)))

    def prune(self, problem: Problem, density: float) -> Masks:
        """Return the masks of all rounds; values are replaced once, and dead units are left out."""
        flow = _Flow.of(problem, _except_masks(problem, self.values))
        targets = densities(self.schedule, density, self.rounds, problem.masks.density)
        return in_compacted_rounds(flow.problem, targets, flow.ranked, flow.lay_out, flow.level)


class SynFlowL2(SynFlow):
    """SynFlow-L2: SynFlow with squared weights, |w^2 dR/d(w^2)|.

    R is the sum of the outputs for one all-ones input, in 100 exponential rounds without data, with squares
    in place of absolute values: the sum over all paths of the products of their squared weights, which is the
    trace of the path kernel for inputs of ones. Batch-norm statistics are squared like the parameters, so
    that a batch norm multiplies by the square of its factor.

    Paper: Patil, Dovrolis, "PHEW: Constructing Sparse Networks that Learn Fast and Generalize Well Without
    Training Data", 2021, arXiv 2010.11354. The remarks at `synflow` hold here as well.

    Squares of thinned weights soon let less through than torch's own biases add: where these are not pruned
    and kept in the scores, the first layers of `fc` empty at compression 10. The authors' networks begin with
    biases of zero, as the option `biases = "zero"` has it here. The paper's score is w^2 dR/d(w^2), as here;
    the official code has |w| dR/d(w^2). Squares make a residual branch thin beside its identity shortcut,
    thinner with every round: whole branches of `lottery/resnet20` are gone at compression 20.
    """

    revision: ClassVar[int] = 4

    def values(self, name: str, tensor: Tensor) -> Tensor:
        """Return the squares of a parameter or statistic."""
        return square_of(super().values(name, tensor))

    def flow(self, problem: Problem, scores: Mapping[str, Tensor]) -> float:  # noqa: ARG002 - as in SynFlow
        """Return the largest sum of a layer's scores: R if there are no biases."""
        return max(float(score.double().sum()) for score in scores.values())


def flow_shares(problem: Problem, level: float = 1.0, repeating: bool | None = None) -> dict[str, Tensor]:
    """Return w dR/dw of a network of positive weights: the flow through each weight.

    Args:
        problem: The network.
        level: The value of the input's entries.
        repeating: True if equal windows of images may be computed once; found out if not given.
    """
    weights = problem.parameters
    total = total_flow(problem, level, repeating=repeating is not False)
    if repeating is None and (not _is_plain(problem, total) or has_equal_weights(weights.values())):
        total = total_flow(problem, level, repeating=False)
    gradients = torch.autograd.grad(total, list(weights.values()), materialize_grads=True)
    pairs = zip(weights.items(), gradients, strict=True)
    return {name: gradient.mul_(weight.detach()) for (name, weight), gradient in pairs}


def total_flow(problem: Problem, level: float = 1.0, *, repeating: bool = True) -> Tensor:
    """Return R, the sum of f(x; w) for one input x whose entries are `level`, by default ones.

    Args:
        problem: The network.
        level: The value of the input's entries.
        repeating: Compute equal windows of images once.
    """
    windows = RepeatingImages() if repeating else nullcontext()
    with windows, made_up_inputs(problem, partial(torch.full_like, fill_value=level)) as inputs:
        return sum_of(problem.model(inputs))


def _except_masks(problem: Problem, change: Change) -> Change:
    """Return a change of values that leaves additive masks as they are: a positive one masks nothing."""
    kept = additive_masks(problem.model)
    return lambda name, tensor: tensor if name in kept else change(name, tensor)


def _contiguous(change: Change, name: str, tensor: Tensor) -> Tensor:
    changed = change(name, tensor)
    return changed.contiguous() if changed.layout is torch.strided else changed


def _is_plain(problem: Problem, total: Tensor) -> bool:
    """Return True if a total flow is computed with `PLAIN` operations from weights of common layers."""
    owners = (problem.model.get_submodule(name.rpartition(".")[0]) for name in problem.parameters)
    common = all(isinstance(owner, nn.Linear | _ConvNd | _BatchNorm | ResidualScale) for owner in owners)
    return common and _operations(total) <= PLAIN


def _operations(total: Tensor) -> set[str]:
    """Return the names of the operations that have computed `total`, as its derivatives are called."""
    waiting, seen = [total.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [previous for previous, _ in node.next_functions]
    return {re.sub(r"(Backward)?\d*$", "", node.name()) for node in seen}


@dataclass(frozen=True)
class _Flow:
    """A network of positive weights whose flow can be ranked.

    Attributes:
        problem: The network.
        lay_out: Gives tensors the memory layout that they have in the network.
        repeating: True if equal windows of images may be computed once.
        level: The value of the input's entries, by which biases are scaled too.
    """

    problem: Problem
    lay_out: Callable[[Tensor], Tensor]
    repeating: bool
    level: float = 1.0

    @classmethod
    def of(cls, problem: Problem, change: Change) -> _Flow:
        """Replace values, with channels last where the network allows it; keep activations unsaturated."""
        try:
            posed, lay_out = problem.transformed(change), channels_last
            flow, plain = _flow_from_input(posed, 1.0)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:  # perhaps from `view`, which depends on the memory layout
            posed, lay_out = problem.transformed(partial(_contiguous, change)), unchanged
            flow, plain = _flow_from_input(posed, 1.0)
        if not plain:
            posed = posed.in_double()
        repeating = plain and not has_equal_weights(posed.parameters.values())
        return cls(posed, lay_out, repeating) if bool(flow.any()) else _unsaturated(posed, lay_out, repeating)

    def ranked(self, problem: Problem) -> dict[str, Tensor]:
        """Return the scores: absolute shares of the flow, and 0 where they are rounding noise.

        Raises:
            PrecisionError: The flow cancels, and float32 is not enough.
        """
        shares = flow_shares(problem, self.level, self.repeating)
        least = torch.stack([share.min() for share in shares.values()]).tolist()  # read at once
        pairs = zip(shares.items(), least, strict=True)
        cancels = [name for (name, share), low in pairs if not low >= 0 and _cancels(share)]
        if cancels and problem.dtype is not torch.float64:
            raise PrecisionError(f"the flow through layer {cancels[0]!r} cancels")
        if problem.round == 1 and (cancels or self._is_diminished(problem, shares)):
            for name in self._noise(problem, shares):
                if problem.dtype is not torch.float64:
                    raise PrecisionError(f"the flow through layer {name!r} is rounding noise")
                shares[name].zero_()
        return {name: share.abs_() for name, share in shares.items()}

    @torch.no_grad()
    def _is_diminished(self, problem: Problem, shares: Mapping[str, Tensor]) -> bool:
        """Return True if the shares of a layer are tiny beside R: they may be what rounding left of zero."""
        least = min(float(share.abs().sum()) for share in shares.values())
        return least < DIMINISHED * abs(float(total_flow(problem, self.level)))

    def _noise(self, problem: Problem, shares: Mapping[str, Tensor]) -> list[str]:
        """Return the layers whose shares have no correct digit.

        A change of the weights by some units in their last places changes such shares by as much as they are.
        That is so behind a normalization whose outputs have a constant sum: all derivatives of R are zero.
        """
        generator, eps = torch.Generator().manual_seed(0), torch.finfo(problem.dtype).eps
        weights = {name: weight.detach().clone() for name, weight in problem.parameters.items()}
        found: set[str] = set()
        for number in range(DRAWS):
            for name, weight in problem.parameters.items():
                draw = torch.rand(weight.shape, generator=generator).to(weight)
                weight.data.copy_(weights[name] * (1 + 2 ** (4 + number) * eps * draw))
            for name, share in flow_shares(problem, self.level, self.repeating).items():
                if bool((share - shares[name]).norm() > 0.5 * shares[name].norm()):
                    found.add(name)
        for name, weight in problem.parameters.items():
            weight.data.copy_(weights[name])
        return [name for name in shares if name in found]


def _cancels(share: Tensor) -> bool:
    return float(share.sum()) < (1 - CANCELLED) * float(share.abs().sum())


def _flow_from_input(problem: Problem, level: float) -> tuple[Tensor, bool]:
    """Return dR/dx of all inputs in a row, and True if R is computed with `PLAIN` operations only."""
    sources: list[Tensor] = []

    def source(like: Tensor) -> Tensor:
        sources.append(torch.full_like(like, level).requires_grad_())
        return sources[-1].clone()  # a network may write into its input

    with RepeatingImages(), made_up_inputs(problem, source) as inputs:
        total = sum_of(problem.model(inputs))
        plain = _is_plain(problem, total)
        if not sources:
            return torch.ones(1), plain
        gradients = torch.autograd.grad(total, sources, materialize_grads=True)
    return torch.cat([gradient.flatten() for gradient in gradients]), plain


def _unsaturated(problem: Problem, lay_out: Callable[[Tensor], Tensor], repeating: bool) -> _Flow:
    """Scale the input and all biases down until the flow is linear in them; leave them where that is nowhere.

    The flow of a network with ReLU in place of ReLU6 would be scaled as a whole, so that its ranking is kept.
    """
    problem = problem.in_double()
    levels = [2.0 ** (-8 * step) for step in range(LEVELS)]
    linear = _flow_at(problem, levels[-1])
    with torch.no_grad():
        total = total_flow(_scaled(problem, levels[-1]), levels[-1])
    flows = bool(levels[-1] * linear.abs().sum() > ROUNDING * total.abs())
    if flows and not bool(_flow_at(problem, 1.0).any()):
        level = next(each for each in levels if _agree(_flow_at(problem, each), linear))
        problem.warn(
            "activations are saturated by the ones input; the input and all biases were scaled by "
            f"{level:g}, where the activations are linear"
        )
        return _Flow(_scaled(problem, level), lay_out, repeating, level)
    return _Flow(_scaled(problem, 1.0), lay_out, repeating)


def _flow_at(problem: Problem, level: float) -> Tensor:
    return _flow_from_input(_scaled(problem, level), level)[0]


def _agree(flow: Tensor, linear: Tensor) -> bool:
    return bool((flow - linear).norm() <= LINEAR * linear.norm())


def _scaled(problem: Problem, level: float) -> Problem:
    def change(name: str, tensor: Tensor) -> Tensor:
        return tensor * level if is_bias(name) or name.endswith("running_mean") else tensor

    return problem.transformed(change)
