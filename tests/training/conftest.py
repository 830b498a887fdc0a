"""A small dataset on a device, and a network to train on it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from synflow_bench.suites import Recipe
from synflow_bench.training import Normalization, ResidentSplit, Streams, TrainingData

MakeSplit = Callable[..., ResidentSplit]


@pytest.fixture(scope="session")
def make_split() -> MakeSplit:
    """A factory of separable images: `make_split(count, seed, channels=1, side=4, classes=3)`."""
    return split_of


def split_of(count: int, seed: int, channels: int = 1, side: int = 4, classes: int = 3) -> ResidentSplit:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (count,), generator=draw)
    noise = torch.randint(64, (count, channels, side, side), generator=draw)
    images = (noise + 60 * labels[:, None, None, None]).to(torch.uint8)
    shape = (channels, 1, 1)
    return ResidentSplit(images, labels, Normalization(torch.full(shape, 1 / 64), torch.full(shape, -2.0)))


@pytest.fixture
def examples() -> TrainingData:
    return TrainingData(split_of(70, 0), split_of(20, 1), split_of(30, 2), None)


@pytest.fixture
def streams() -> Streams:
    return Streams(torch.Generator().manual_seed(3), torch.Generator().manual_seed(4))


@pytest.fixture
def network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 3))


@pytest.fixture
def masks(network: nn.Module) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(6)
    return {
        name: torch.rand(p.shape, generator=draw) < 0.4
        for name, p in network.named_parameters()
        if name.endswith("weight")
    }


@pytest.fixture
def recipe() -> Recipe:
    return Recipe(epochs=2, batch_size=16, lr=0.05)
