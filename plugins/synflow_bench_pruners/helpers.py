"""Helpers that several pruners share: gradients over the scoring data, random draws, memory layout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from synflow_bench import Problem


def batch_losses(problem: Problem, temperature: float = 1.0) -> Iterator[Tensor]:
    """Yield the summed loss of each batch of scoring data, with logits divided by `temperature`."""
    for inputs, labels in problem.batches():
        yield problem.loss(problem.model(inputs) / temperature, labels) * len(labels)


def summed_gradients(problem: Problem, temperature: float = 1.0) -> list[Tensor]:
    """Return d(sum of losses)/dw over the scoring data for every prunable tensor, in their order."""
    weights = list(problem.parameters.values())
    total = [torch.zeros_like(w) for w in weights]
    for loss in batch_losses(problem, temperature):
        torch._foreach_add_(total, torch.autograd.grad(loss, weights, materialize_grads=True))
    return total


def sampled(problem: Problem, number: int) -> Problem:
    """Return the problem with `number` of its scoring examples, drawn anew; with all if it has no more."""
    if problem.examples is None or number >= len(problem.examples[1]):
        return problem
    inputs, labels = problem.examples
    drawn = torch.randperm(len(labels), generator=problem.generator)[:number].to(labels.device)
    return replace(problem, examples=(inputs[drawn], labels[drawn]))


@contextmanager
def global_draws(problem: Problem) -> Iterator[None]:
    """Seed torch's global generators from the problem's own, and restore them afterwards.

    Layers such as dropout draw from the global generators only.
    """
    seed = int(torch.randint(2**62, (), generator=problem.generator))
    devices = [problem.device] if problem.device.type in {"cuda", "mps"} else []
    with torch.random.fork_rng(devices, device_type=devices[0].type if devices else "cuda"):
        torch.manual_seed(seed)
        yield


def is_unprunable_bias(problem: Problem, name: str) -> bool:
    """Return True if the parameter `name` is the bias of a layer or norm that no mask covers.

    Such a bias adds to its unit whatever reaches the unit, also when every path to it is pruned.
    """
    return name.rpartition(".")[2] == "bias" and name not in problem.parameters


def channels_last(tensor: Tensor) -> Tensor:
    """Return a 4-dimensional tensor on a CPU with channels last, where few images convolve faster."""
    if tensor.dim() == 4 and tensor.device.type == "cpu":
        return tensor.contiguous(memory_format=torch.channels_last)
    return tensor
