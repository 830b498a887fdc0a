"""Masks changed on purpose, to learn what a pruner has found (Frankle et al. 2021, arXiv 2009.08576)."""

from __future__ import annotations

import torch
from torch import Tensor

from synflow_bench.pruning._masks import Masks
from synflow_bench.pruning._problem import Examples


def shuffle_masks(masks: Masks, generator: torch.Generator) -> Masks:
    """Permute the mask inside each layer: layer densities stay, positions are random."""
    return Masks({name: _permute(mask, generator) for name, mask in masks.items()})


def random_labels(examples: Examples, num_classes: int, generator: torch.Generator) -> Examples:
    """The same inputs with labels drawn uniformly."""
    inputs, labels = examples
    drawn = torch.randint(num_classes, labels.shape, generator=generator)
    return inputs, drawn.to(labels.device)


def random_inputs(examples: Examples, generator: torch.Generator) -> Examples:
    """Standard normal inputs with the same labels."""
    inputs, labels = examples
    return torch.randn(inputs.shape, generator=generator).to(inputs), labels


def _permute(mask: Tensor, generator: torch.Generator) -> Tensor:
    order = torch.randperm(mask.numel(), generator=generator).to(mask.device)
    return mask.reshape(-1)[order].view(mask.shape)
