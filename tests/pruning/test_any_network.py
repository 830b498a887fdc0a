"""`synflow_bench.prune` on networks written in unusual ways: right masks, or one line."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import synflow_bench as sfb
from synflow_bench.errors import ModelError

X = torch.randn(12, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(12) % 3
EVERY = ["random", "magnitude", "snip", "synflow[rounds=3]"]


def mlp() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def pruned(model: nn.Module, pruner: Any = "snip", **arguments: Any) -> sfb.Masks:
    return sfb.prune(model, pruner, **{"compression": 3, "data": (X, Y), **arguments})


def bits(masks: sfb.Masks) -> Tensor:
    return torch.cat([mask.flatten() for mask in masks.values()])


class Net(nn.Module):
    """6 -> 8 -> 3, the same weights for all subclasses."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp()

    def forward(self, x: Any) -> Tensor:
        logits: Tensor = self.net(x)
        return logits


class Frozen(Net):
    def train(self, mode: bool = True) -> None:  # type: ignore[override]
        super().train(mode)


@pytest.mark.parametrize("pruner", EVERY)
def test_a_train_that_returns_nothing(pruner: str) -> None:
    assert torch.equal(bits(pruned(Frozen(), pruner)), bits(pruned(Net(), pruner)))


class Refusing(Net):
    def train(self, mode: bool = True) -> Any:
        raise RuntimeError("inference only")


def test_a_train_that_raises_is_named() -> None:
    with pytest.raises(ModelError, match=r"Refusing cannot be put in eval mode.*inference only"):
        pruned(Refusing())
