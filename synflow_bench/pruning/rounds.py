"""Running a pruner without side effects, and ablations of its data and masks.

Ablations show what a pruner has found: Frankle et al., "Pruning Neural Networks at Initialization: Why Are We
Missing the Mark?", 2021, arXiv 2009.08576.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from synflow_bench.errors import PluginError
from synflow_bench.pruning.masks import Masks
from synflow_bench.pruning.problem import Examples, Problem
from synflow_bench.pruning.pruner import Pruner
from synflow_bench.pruning.selection import kept_count


@dataclass(frozen=True)
class Pruned:
    """The outcome of `run_pruner`.

    Attributes:
        masks: The masks, on the device of the problem.
        score_dtype: The precision of the last scores, `float32` or `float64`.
    """

    masks: Masks
    score_dtype: str


def run_pruner(pruner: Pruner, problem: Problem, density: float) -> Pruned:
    """Let a pruner choose the weights to keep.

    The global generators of torch, numpy and Python are left as they were. In the pruner, they are seeded by
    the problem's generator.

    Raises:
        PluginError: The masks do not fit the network, or do not keep exactly round(density * N) weights.
        ScoreError: The scores of a layer cannot be ranked.
        UsageError: The density leaves no weight.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> class Magnitude(Pruner):
        ...     def score(self, problem):
        ...         return {name: p.detach().abs() for name, p in problem.parameters.items()}
        >>> generator = torch.Generator().manual_seed(0)
        >>> problem = Problem.of(nn.Linear(8, 5), input_shape=(8,), num_classes=5, generator=generator)
        >>> run_pruner(Magnitude(), problem, density=0.1).masks
        Masks(4 of 40 kept in 1 layers, compression 10)
    """
    expected = kept_count(density, problem.masks.size)
    device = problem.device
    with torch.enable_grad(), _own_randomness(problem):
        masks = pruner.prune(problem, density)
    masks = masks.check(problem.parameters).to(device)
    if masks.kept != expected:
        raise PluginError(
            f"pruner {type(pruner).__name__} kept {masks.kept} of {masks.size} weights where compression "
            f"{1 / density:g} asks for {expected}; its prune() must keep exactly that many"
        )
    return Pruned(masks, str(problem.dtype).removeprefix("torch."))


@contextmanager
def _own_randomness(problem: Problem) -> Iterator[None]:
    device, seed = problem.device, problem.generator.initial_seed()
    devices = [device] if device.type in {"cuda", "mps"} else []
    kind = device.type if devices else "cuda"
    of_python, of_numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices, device_type=kind):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)


def shuffle_masks(masks: Masks, generator: torch.Generator) -> Masks:
    """Permute the mask inside each layer: layer densities stay, positions are random."""
    orders = {name: torch.randperm(mask.numel(), generator=generator) for name, mask in masks.items()}
    return Masks({name: m.reshape(-1)[orders[name].to(m.device)].view(m.shape) for name, m in masks.items()})


def random_labels(examples: Examples, num_classes: int, generator: torch.Generator) -> Examples:
    """Return the same inputs with labels that are drawn uniformly."""
    inputs, labels = examples
    drawn = torch.randint(num_classes, labels.shape, generator=generator)
    return inputs, drawn.to(labels.device)


def random_inputs(examples: Examples, generator: torch.Generator) -> Examples:
    """Return standard normal inputs with the same labels."""
    inputs, labels = examples
    return torch.randn(inputs.shape, generator=generator).to(inputs), labels
