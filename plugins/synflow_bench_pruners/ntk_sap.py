"""NTK-SAP: Neural Tangent Kernel Spectrum-Aware Pruning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from synflow_bench import Problem, Pruner
from synflow_bench.errors import UsageError
from synflow_bench.graph import call_with
from synflow_bench.pruning import Inputs, map_examples, size_of
from synflow_bench_pruners.helpers import channels_last, filled_embeddings, unchanged


class NtkSap(Pruner):
    """NTK-SAP: keep the spectrum of the neural tangent kernel.

    The score is |d/dm sum |f(x; m w) - f(x; m (w + d))|^2| with the masks m, weights w drawn anew for every
    batch, d ~ `perturbation` N(0, I) on the prunable weights, and inputs x ~ N(0, I), in 20 exponential
    rounds. The sum goes over all batches; the absolute value is taken at the end. Each repeat has
    `problem.options.examples_per_class` inputs per class. Batch norm takes its statistics from one
    training-mode pass of the same x through f(.; m w), and keeps them for both f.

    Paper: Wang, Li, Sun, "NTK-SAP: Improving neural network pruning by aligning training dynamics", 2023,
    arXiv 2304.02840.

    The initialization of a network cannot be read from it, and torch's `reset_parameters` is seldom the one.
    New weights are therefore a random permutation of the entries of the dense tensor: where these were drawn
    independently from one distribution, the permutation has the law of a fresh draw, except for the set of
    values, which stays. Constant tensors stay constant; orthogonal and other structured weights lose their
    structure. Biases and shifts are permuted too. Those of the authors' networks begin at zero, as the option
    `biases = "zero"` has it here; torch's own, which no mask thins, drown the signal of a sparse network: the
    last hidden layers of `fc` keep next to nothing at compression 10. The official code calls the network's
    own initialization, takes batch norm's statistics with dropout active, and loads images for their shape;
    here only batch norm is in training mode, and no images are loaded.

    Args:
        repeats: The number of draws for all inputs. 0, the default, is 5 for up to ten classes and 1 for
            more: the paper's numbers for CIFAR-10 and for the rest. With fewer, the noise of few draws, which
            is largest in the largest layer, outweighs the scores of the other layers.
        perturbation: The standard deviation of d.
        batch: The largest number of inputs per batch.
    """

    needs_data: ClassVar[bool] = False
    revision: ClassVar[int] = 3
    rounds: int = 20
    repeats: int = 0
    perturbation: float = 0.01
    batch: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.repeats < 0 or not 0 < self.perturbation < inf or self.batch < 2:
            raise UsageError(
                f"repeats={self.repeats}, perturbation={self.perturbation:g}, batch={self.batch}: "
                "repeats must be at least 0, perturbation above 0, and batch at least 2"
            )

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """Return the change of the kernel's trace, estimated with fresh weights, with each mask entry."""
        total = [torch.zeros_like(p) for p in problem.parameters.values()]
        lay_out = _layout(problem)
        for size in self.batch_sizes(problem):
            draw = Draw.of(problem, size, self.perturbation, lay_out)
            torch._foreach_add_(total, sensitivities(problem, draw))
        pairs = zip(problem.masks.items(), total, strict=True)
        return {name: (score * mask).abs_() for (name, mask), score in pairs}

    def batch_sizes(self, problem: Problem) -> Iterator[int]:
        """Yield the numbers of inputs of the batches of all repeats, as equal as possible."""
        number = max(2, problem.num_classes * problem.options.examples_per_class)
        batches = -(-number // self.batch)
        for _ in range(self.repeats or (5 if problem.num_classes <= 10 else 1)):
            yield from ((number + i) // batches for i in range(batches))


@dataclass(frozen=True)
class Draw:
    """Random weights and inputs for one batch.

    Attributes:
        weights: Fresh weights of the whole network, unmasked.
        perturbed: The same of the prunable tensors, perturbed.
        inputs: (N, ...), standard normal; token ids are those of the example inputs, repeated.
    """

    weights: Mapping[str, Tensor]
    perturbed: Mapping[str, Tensor]
    inputs: Inputs

    @classmethod
    def of(
        cls,
        problem: Problem,
        size: int,
        perturbation: float,
        lay_out: Callable[[Tensor], Tensor] = channels_last,
    ) -> Self:
        """Draw `size` inputs and all weights from the problem's generator."""
        weights = {
            name: _permuted(problem.dense.get(name, tensor.detach()), problem.generator)
            for name, tensor in problem.model.named_parameters()
            if tensor.requires_grad
        }
        perturbed = {
            name: weights[name] + perturbation * _normal(problem, *weights[name].shape)
            for name in problem.parameters
        }
        if problem.example_inputs is None:
            return cls(weights, perturbed, lay_out(_normal(problem, size, *problem.input_shape)))
        return cls(weights, perturbed, _noisy(problem, problem.forward_inputs(), size))


def _noisy(problem: Problem, example: Inputs, size: int) -> Inputs:
    """Return `size` inputs like `example`, with noise for all that is floating point.

    Several examples are as many as the network takes.
    """
    if size_of(example) > 1:
        size = size_of(example)
    copies = -(-size // max(1, size_of(example)))

    def noisy(entry: Tensor) -> Tensor:
        repeated = entry.repeat(copies, *[1] * (entry.dim() - 1))[:size]
        return _normal(problem, *repeated.shape) if entry.is_floating_point() else repeated

    return map_examples(noisy, example)


class _Noise:
    """Standard normal outputs of embeddings, the same in every forward pass."""

    def __init__(self, problem: Problem) -> None:
        self._problem, self._drawn, self._calls = problem, list[Tensor](), 0

    def begin_pass(self) -> None:
        """Give the outputs of the first pass again."""
        self._calls = 0

    def __call__(self, like: Tensor) -> Tensor:
        """Return the noise of the next call of an embedding in this pass."""
        self._calls += 1
        if self._calls > len(self._drawn):
            self._drawn.append(_normal(self._problem, *like.shape))
        return self._drawn[self._calls - 1].clone()


def sensitivities(problem: Problem, draw: Draw) -> tuple[Tensor, ...]:
    """Return d/dm of the squared change of the outputs for every prunable tensor, with fixed batch norm."""
    masks = {name: mask.to(problem.dtype).requires_grad_() for name, mask in problem.masks.items()}
    model = problem.model
    here, there = (
        {**draw.weights, **{name: mask * weights[name] for name, mask in masks.items()}}
        for weights in (draw.weights, draw.perturbed)
    )
    noise = _Noise(problem)

    def outputs(state: Mapping[str, Tensor]) -> Tensor:
        noise.begin_pass()
        inputs = map_examples(Tensor.clone, draw.inputs)  # a network may write into its input
        found: Tensor = call_with(model, state, inputs)
        return found

    with filled_embeddings(problem, draw.inputs, noise):
        _observe(model, partial(outputs, here))
        change = outputs(here) - outputs(there)
        return torch.autograd.grad(change.square().sum(), list(masks.values()), materialize_grads=True)


@torch.no_grad()
def _layout(problem: Problem) -> Callable[[Tensor], Tensor]:
    """Return the function that lays images out with channels last, unless the network fails on them."""
    if len(problem.input_shape) == 3 and problem.example_inputs is None and problem.device.type == "cpu":
        try:
            problem.model(channels_last(torch.ones(2, *problem.input_shape, dtype=problem.dtype)))
        except RuntimeError:  # perhaps from `view`, which depends on the memory layout
            return unchanged
    return channels_last


@torch.no_grad()
def _observe(model: nn.Module, run: Callable[[], Tensor]) -> None:
    """Set batch norm's statistics to those of the inputs of `run` only."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
        norm.momentum = 1.0
    try:
        run()
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.eval()
            norm.momentum = momentum


def _permuted(tensor: Tensor, generator: torch.Generator) -> Tensor:
    order = torch.randperm(tensor.numel(), generator=generator).to(tensor.device)
    return tensor.reshape(-1)[order].view(tensor.shape)


def _normal(problem: Problem, *shape: int) -> Tensor:
    drawn = torch.randn(*shape, generator=problem.generator, dtype=torch.float64)
    return drawn.to(problem.device, problem.dtype)
