"""Networks with attention, recurrent layers and computed weights: smaller around them, or left whole."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal, weight_norm

from synflow_bench.compaction import compact
from synflow_bench.graph import trace
from synflow_bench.pruning import Masks, prunable_parameters
from synflow_bench.suites import PruningOptions


class Attends(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.attention = nn.Linear(4, 8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.up, self.down, self.head = nn.Linear(8, 64), nn.Linear(64, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        x = self.attention(x, x, x, need_weights=False)[0]
        out: Tensor = self.head(self.down(torch.relu(self.up(x))).mean(1))
        return out


class Last(nn.Module):
    def forward(self, found: tuple[Tensor, object]) -> Tensor:
        return found[0][:, -1]


def sparse(model: nn.Module, density: float = 0.08) -> Masks:
    generator = torch.Generator().manual_seed(0)
    return Masks(
        {
            name: torch.rand(p.shape, generator=generator) < density
            for name, p in prunable_parameters(model, PruningOptions()).items()
        }
    )


def test_layers_around_attention_get_smaller_and_compute_the_same() -> None:
    model, shape = Attends().eval(), (5, 4)
    masks = sparse(model)
    small = compact(model, masks, trace(model, torch.zeros(1, *shape)), shape)
    assert small is not None
    assert small.share < 0.7
    assert small.model.attention.in_proj_weight.shape == (24, 8)
    whole, part = deepcopy(model), deepcopy(small.model)
    masks.apply_(whole)
    Masks(dict(small.masks)).apply_(part)
    inputs = torch.randn(6, *shape)
    assert torch.allclose(whole(inputs), part(inputs), atol=1e-6)


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ([nn.RNN(4, 32, batch_first=True), Last()], (5, 4)),
        ([nn.LSTM(4, 32, batch_first=True), Last()], (5, 4)),
        ([nn.GRU(4, 32, batch_first=True), Last()], (5, 4)),
        ([weight_norm(nn.Linear(4, 32)), nn.ReLU()], (4,)),
        ([orthogonal(nn.Linear(4, 32)), nn.ReLU()], (4,)),
    ],
    ids=["rnn", "lstm", "gru", "weight norm", "orthogonal"],
)
def test_networks_that_cannot_be_followed_are_left_whole(
    layers: list[nn.Module], shape: tuple[int, ...]
) -> None:
    model = nn.Sequential(*layers, nn.Linear(32, 3))
    assert compact(model, sparse(model), trace(model, torch.zeros(1, *shape)), shape) is None
