"""Small networks, and what is effective in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn

from synflow_bench.metrics.connectivity import Connectivity, effective_masks, trace

Trace = Callable[..., Connectivity]
Effective = Callable[..., dict[str, list[int]]]


def _followed(model: nn.Module, *shape: int) -> Connectivity:
    found = trace(model, torch.zeros(1, *shape))
    assert isinstance(found, Connectivity), found
    return found


def _masks(model: nn.Module, masks: Mapping[str, object]) -> dict[str, Tensor]:
    """Masks of all parameters, as given by name: nested lists of 0 and 1; ones for the others."""
    given = {name: torch.tensor(mask, dtype=torch.bool) for name, mask in masks.items()}
    return {
        name: given[name].view_as(p) if name in given else torch.ones_like(p, dtype=torch.bool)
        for name, p in model.named_parameters()
    }


def _effective(model: nn.Module, shape: tuple[int, ...], **masks: object) -> dict[str, list[int]]:
    named = {name.replace("__", "."): mask for name, mask in masks.items()}
    left = effective_masks(_followed(model, *shape), _masks(model, named))
    return {name: mask.flatten().int().tolist() for name, mask in left.items()}


@pytest.fixture
def followed() -> Trace:
    """`followed(model, *shape)`: the connectivity of a network that must be one that can be followed."""
    return _followed


@pytest.fixture
def effective() -> Effective:
    """`effective(model, shape, layer__weight=[...])`: the entries on a path, 0 or 1, by parameter."""
    return _effective
