"""Small networks, and what is effective in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn

from synflow_bench.graph import Graph, effective_masks, trace

Trace = Callable[..., Graph]
Effective = Callable[..., dict[str, list[int]]]


def _traced(model: nn.Module, *shape: int) -> Graph:
    found = trace(model, torch.zeros(1, *shape))
    assert isinstance(found, Graph), found
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
    left = effective_masks(_traced(model, *shape), _masks(model, named))
    return {name: mask.flatten().int().tolist() for name, mask in left.items()}


@pytest.fixture(autouse=True)
def _on_one_thread(one_thread: None) -> None:
    """Two are slower on networks of this size."""


@pytest.fixture
def traced() -> Trace:
    """`traced(model, *shape)`: the graph of a network, which must be traceable."""
    return _traced


@pytest.fixture
def effective() -> Effective:
    """`effective(model, shape, layer__weight=[...])`: the entries on a path, 0 or 1, by parameter."""
    return _effective
