"""PX, Path eXclusion: a bound on the trace of the neural tangent kernel."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from synflow_bench import Problem, Pruner
from synflow_bench.graph import call_with
from synflow_bench.pruning import is_bias, map_examples
from synflow_bench_pruners.helpers import (
    Mode,
    additive_masks,
    equal_batches,
    in_mode,
    logits_of,
    made_up_inputs,
    square_of,
)
from synflow_bench_pruners.paths import Gated, Paths, Recorded


class Px(Pruner):
    """PX: keep the paths that bound the tangent kernel's trace.

    The score is w^2 |dR/d(w^2)| with R = sum over examples x and outputs k of z1_k(x) z2_k. z2 is the network
    with squared weights, without activations, on ones: the sum over paths of their squared weights. z1 is the
    network whose kept weights are 1 and whose biases are 0, on x^2; its activations let through what those of
    the network itself let through on x: the sum over the paths that are active for x of the squared input. R
    stems from an upper bound of the trace of a ReLU network's tangent kernel. There are 100 exponential
    rounds.

    Paper: Iurada, Ciccone, Tommasi, "Finding Lottery Tickets in Vision Models via Data-driven Spectral
    Foresight Pruning", 2024, arXiv 2406.01820.

    While no weight of the classifier is removed, z1 is the same for all outputs: the first round ranks as
    `synflow-l2`.

    The official code has changed. In its last version the gradients are summed over the batches, as here, and
    batch norm and classifiers keep their own values in z1 and z2; the version before squares the gradient of
    each batch, and squares all values in z2, as here. In both, batch norm normalizes z1 by the statistics of
    each batch, and in the last version z2 too; here it has no effect in z1 and its own statistics in z2. The
    commands take 256 training examples of CIFAR-10 as they come.

    Activations are those that are zero or flat below zero, GELU and its like too. Normalization over features
    only scales and shifts in z1 and z2, and functions such as softmax stay as they are.

    Args:
        mode: The mode of the network in which activations are recorded, "train" or "eval".
    """

    rounds: int = 100
    mode: Mode = "eval"

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """Return the part of R that passes through every weight."""
        squares = {name: p.detach().square().requires_grad_() for name, p in problem.parameters.items()}
        fixed = {name: square_of(tensor.detach()) for name, tensor in _state(problem) if name not in squares}
        with Paths(), made_up_inputs(problem, torch.ones_like) as inputs:
            kernel = call_with(problem.model, {**fixed, **squares}, inputs)
        bound = (active_paths(problem, self.mode) * kernel).sum()
        gradients = torch.autograd.grad(bound, list(squares.values()), materialize_grads=True)
        pairs = zip(squares.items(), gradients, strict=True)
        return {name: (square.detach() * gradient).abs_() for (name, square), gradient in pairs}


@torch.no_grad()
def active_paths(problem: Problem, mode: Mode = "eval") -> Tensor:
    """Return z1 summed over the scoring examples, divided by its largest entry, which ranks the same."""
    ones = {name: _one(problem, name, tensor) for name, tensor in _state(problem)}
    total = torch.zeros((), dtype=problem.dtype, device=problem.device)
    for inputs, _ in equal_batches(problem, problem.batch_size):
        squared = map_examples(_square, inputs)
        with in_mode(problem, mode), Recorded() as real:
            logits_of(problem, inputs)
        with Gated(real.gates):
            outputs: Tensor = call_with(problem.model, ones, squared)
        total = total + outputs.sum(0)
    largest = total.abs().max()
    return total / largest if bool(largest > 0) else total


def _state(problem: Problem) -> Iterator[tuple[str, Tensor]]:
    """Yield the parameters and floating-point buffers of the network; additive masks stay as they are."""
    yield from problem.model.named_parameters()
    kept = additive_masks(problem.model)
    for name, buffer in problem.model.named_buffers():
        if buffer.is_floating_point() and name not in kept:
            yield name, buffer


def _one(problem: Problem, name: str, tensor: Tensor) -> Tensor:
    """Return the values in z1: kept weights and scales 1, biases 0, and batch norm without effect."""
    last = name.rpartition(".")[2]
    if is_bias(name) or last == "running_mean":
        return torch.zeros_like(tensor)
    if name in problem.masks:
        return problem.masks[name].to(tensor.dtype)
    is_buffer = last != "running_var" and not tensor.requires_grad
    return square_of(tensor) if is_buffer else torch.ones_like(tensor)


def _square(entry: Tensor) -> Tensor:
    return entry.square() if entry.is_floating_point() else entry
