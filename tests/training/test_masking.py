"""Masked training equals masking in the forward pass, and removed weights stay at zero."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_

from synflow_bench.suites import Recipe
from synflow_bench.training.loop import Batch
from synflow_bench.training.masking import MaskedWeights
from synflow_bench.training.optimizers import build_optimizer
from synflow_bench.training.precision import Precision
from synflow_bench.training.step import TrainingStep

RECIPES: list[dict[str, Any]] = [
    {"optimizer": name, "lr": lr, "weight_decay": decay, "gradient_clip": clip}
    for name, lr in (("sgd", 0.1), ("momentum", 0.05), ("adam", 0.01), ("rmsprop", 0.01))
    for decay, clip in ((0.0, None), (0.01, 0.5))
]


def batches(count: int = 6) -> list[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(9)
    return [
        (torch.randn(8, 1, 4, 4, generator=draw), torch.randint(3, (8,), generator=draw))
        for _ in range(count)
    ]


def train_with_forward_masks(model: nn.Module, masks: dict[str, Tensor], recipe: Recipe) -> dict[str, Tensor]:
    """The conventional way: weights are multiplied by their masks in every forward pass."""
    optimizer = build_optimizer(recipe, model.parameters())
    for inputs, labels in batches():
        masked = {n: p * masks[n] if n in masks else p for n, p in model.named_parameters()}
        cross_entropy(functional_call(model, masked, (inputs,)), labels).backward()
        if recipe.gradient_clip is not None:
            clip_grad_norm_(model.parameters(), recipe.gradient_clip)
        optimizer.step()
        optimizer.zero_grad()
    return {n: (p * masks[n] if n in masks else p).detach() for n, p in model.named_parameters()}


def step_of(model: nn.Module, masks: dict[str, Tensor], recipe: Recipe) -> TrainingStep:
    optimizer = build_optimizer(recipe, model.parameters())
    precision = Precision.of(recipe, torch.device("cpu"))
    return TrainingStep(model, optimizer, [MaskedWeights(model, masks)], recipe, precision)


@pytest.mark.parametrize("fields", RECIPES, ids=lambda f: f"{f['optimizer']}-{f['gradient_clip']}")
def test_it_equals_masking_in_the_forward_pass(
    network: nn.Module, masks: dict[str, Tensor], fields: dict[str, Any]
) -> None:
    recipe = Recipe(epochs=1, **fields)
    expected = train_with_forward_masks(deepcopy(network), masks, recipe)
    step = step_of(network, masks, recipe)
    for inputs, labels in batches():
        step([Batch(inputs, labels, recipe.lr)])
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.detach(), expected[name], rtol=1e-5, atol=1e-7, msg=name)


def test_masking_the_weights_alone_would_not_equal_it(network: nn.Module, masks: dict[str, Tensor]) -> None:
    """Under clipping, gradients of removed weights would enter the norm: why gradients are masked too."""
    recipe = Recipe(epochs=1, optimizer="sgd", lr=0.1, gradient_clip=0.5)
    expected = train_with_forward_masks(deepcopy(network), masks, recipe)
    optimizer, masked = build_optimizer(recipe, network.parameters()), MaskedWeights(network, masks)
    for inputs, labels in batches():
        cross_entropy(network(inputs), labels).backward()
        clip_grad_norm_(network.parameters(), 0.5)
        optimizer.step()
        masked.mask_weights()
        optimizer.zero_grad()
    assert not torch.allclose(network[1].weight, expected["1.weight"], rtol=1e-3)  # type: ignore[index]


@pytest.mark.parametrize("fields", RECIPES, ids=lambda f: f"{f['optimizer']}-{f['gradient_clip']}")
def test_removed_weights_are_exactly_zero_after_every_step(
    network: nn.Module, masks: dict[str, Tensor], fields: dict[str, Any]
) -> None:
    recipe = Recipe(epochs=1, **fields)
    step = step_of(network, masks, recipe)
    parameters = dict(network.named_parameters())
    for inputs, labels in batches():
        step([Batch(inputs, labels, recipe.lr)])
        step.masked[0].check()
        assert all(not parameters[name][~mask].any() for name, mask in masks.items())


def test_a_removed_weight_that_is_not_zero_is_named(network: nn.Module, masks: dict[str, Tensor]) -> None:
    masked = MaskedWeights(network, masks)
    masked.check()
    with torch.no_grad():
        network[3].weight[~masks["3.weight"]] = 1.0  # type: ignore[index]
    with pytest.raises(RuntimeError, match=r"'3\.weight' is not zero"):
        masked.check()
