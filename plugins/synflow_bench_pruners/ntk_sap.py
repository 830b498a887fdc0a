"""NTK-SAP: Neural Tangent Kernel Spectrum-Aware Pruning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from synflow_bench import Problem, Pruner
from synflow_bench.errors import UsageError
from synflow_bench_pruners.biases import is_unprunable_bias
from synflow_bench_pruners.layout import channels_last


class NtkSap(Pruner):
    """Score |d/dm sum |f(x; m w) - f(x; m (w + d))|^2|: what carries the spectrum of the tangent kernel.

    m are the masks, w weights drawn anew for every batch, d ~ `perturbation` N(0, I) on the prunable weights,
    x ~ N(0, I); the sum goes over batches and `repeats`, the absolute value is taken at the end. There are
    `examples_per_class` inputs a class, in batches of at most `batch`. Batch norm takes its statistics from
    one train-mode pass of the same x through f(.; m w) and keeps them for both f. 20 rounds. `repeats` = 0,
    the default, is 5 for up to ten classes, which make one batch only, and 1 for more: what the paper has for
    CIFAR-10 and for the rest. With fewer, the noise of few draws, which is largest in the largest layer,
    outweighs what the other layers score.
    Wang, Li, Sun, "NTK-SAP: Improving neural network pruning by aligning training dynamics", 2023, arXiv
    2304.02840.

    A network says not how it was initialised, and torch's `reset_parameters` is seldom how. So new weights
    are a random permutation of the dense tensor's own entries: where they were drawn independently from
    one distribution, whichever it is, this has the law of a fresh draw (but for the set of values, which
    stays); constant tensors stay constant. Orthogonal and other structured weights lose their structure.
    Biases and batch norm's shifts that are not prunable are zero, as the authors' networks begin: torch's own
    biases, which no mask thins, drown the signal of a sparse network, and all layers but the first score 0.
    The official code calls the network's own initialisation, and takes batch norm's statistics with dropout
    active; here only batch norm is in train mode. There, images are loaded for their shape only; here, none.
    """

    needs_data: ClassVar[bool] = False
    revision: ClassVar[int] = 2
    rounds: int = 20
    repeats: int = 0
    perturbation: float = 0.01
    batch: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.repeats < 0 or self.perturbation <= 0 or self.batch < 2:
            raise UsageError(
                f"repeats={self.repeats}, perturbation={self.perturbation:g}, batch={self.batch}: "
                "give 0 repeats, for the paper's, or more; a perturbation above 0; 2 inputs a batch or more"
            )

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """How much the kernel's trace, estimated with fresh weights, depends on each mask entry."""
        total = [torch.zeros_like(p) for p in problem.parameters.values()]
        for size in self._sizes(problem):
            torch._foreach_add_(total, sensitivities(problem, Draw.of(problem, size, self.perturbation)))
        pairs = zip(problem.masks.items(), total, strict=True)
        return {name: (score * mask).abs_() for (name, mask), score in pairs}

    def _sizes(self, problem: Problem) -> Iterator[int]:
        """The batches of all repeats, as equal as can be."""
        number = max(2, problem.num_classes * problem.options.examples_per_class)
        batches = -(-number // self.batch)
        for _ in range(self.repeats or (5 if problem.num_classes <= 10 else 1)):
            yield from ((number + i) // batches for i in range(batches))


@dataclass(frozen=True)
class Draw:
    """Fresh weights of the whole network, perturbed ones of its prunable tensors, and inputs (N, ...)."""

    weights: Mapping[str, Tensor]
    perturbed: Mapping[str, Tensor]
    inputs: Tensor

    @classmethod
    def of(cls, problem: Problem, size: int, perturbation: float) -> Self:
        """Draw from the problem's generator; unmasked."""
        weights = {
            name: torch.zeros_like(tensor)
            if is_unprunable_bias(problem, name)
            else _permuted(problem.dense.get(name, tensor.detach()), problem.generator)
            for name, tensor in problem.model.named_parameters()
            if tensor.requires_grad
        }
        perturbed = {
            name: weights[name] + perturbation * _normal(problem, *weights[name].shape)
            for name in problem.parameters
        }
        return cls(weights, perturbed, channels_last(_normal(problem, size, *problem.input_shape)))


def sensitivities(problem: Problem, draw: Draw) -> tuple[Tensor, ...]:
    """d/dm of the squared change of the outputs for every prunable tensor, with fixed batch norm."""
    masks = {name: mask.to(problem.dtype).requires_grad_() for name, mask in problem.masks.items()}
    model = problem.model
    here, there = (
        {**draw.weights, **{name: mask * weights[name] for name, mask in masks.items()}}
        for weights in (draw.weights, draw.perturbed)
    )
    _observe(model, here, draw.inputs)
    change = functional_call(model, here, (draw.inputs,)) - functional_call(model, there, (draw.inputs,))
    return torch.autograd.grad(change.square().sum(), list(masks.values()), materialize_grads=True)


@torch.no_grad()
def _observe(model: nn.Module, state: Mapping[str, Tensor], inputs: Tensor) -> None:
    """Set batch norm's statistics to those of `inputs` alone."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.train().momentum = 1.0
    try:
        functional_call(model, dict(state), (inputs,))
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.eval().momentum = momentum


def _permuted(tensor: Tensor, generator: torch.Generator) -> Tensor:
    order = torch.randperm(tensor.numel(), generator=generator).to(tensor.device)
    return tensor.reshape(-1)[order].view(tensor.shape)


def _normal(problem: Problem, *shape: int) -> Tensor:
    drawn = torch.randn(*shape, generator=problem.generator, dtype=torch.float64)
    return drawn.to(problem.device, problem.dtype)
