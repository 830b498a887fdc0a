"""Whether this machine computes a network of a stack as it computes the network alone."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from synflow_bench.training.stacked._network import StackedNetwork


def is_exact(model: nn.Module, inputs: Sequence[int], networks: int) -> bool:
    """Whether `networks` like `model`, on batches of shape `inputs`, get bitwise what one alone gets.

    Libraries do not promise it of batched products: it is tried.
    """
    generator = torch.Generator().manual_seed(0)
    models = [_random(model, generator) for _ in range(networks)]
    batches = torch.randn(networks, *inputs, generator=generator)
    alone = [_gradients([deepcopy(model)], batches[i : i + 1]) for i, model in enumerate(models)]
    return torch.equal(_gradients(models, batches), torch.cat(alone))


def _random(model: nn.Module, generator: torch.Generator) -> nn.Module:
    copy = deepcopy(model)
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return copy


def _gradients(models: Sequence[nn.Module], batches: Tensor) -> Tensor:
    stacked = StackedNetwork(models)
    stacked(batches).square().sum().backward()
    return stacked.storage.gradients
