"""Networks that are left whole, because compaction would change them or saves too little."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from synflow_bench.compaction import compact
from synflow_bench.graph import Graph, Untraceable, trace


class Between(nn.Module):
    """Two convolutions and a classifier, with `change` between the convolutions."""

    def __init__(self, change: Callable[[nn.Module, Tensor], Tensor] = lambda _, x: x) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.classifier, self.change = nn.Linear(16, 3), change

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.change(self, self.first(x).relu())).relu()
        logits: Tensor = self.classifier(x.mean((2, 3)))
        return logits


def half(model: nn.Module, *, gone: int = 8) -> dict[str, Tensor]:
    """Masks by which `gone` of 16 outputs of every layer but the last are dead."""
    masks = {n: torch.ones_like(p, dtype=torch.bool) for n, p in model.named_parameters() if p.dim() > 1}
    for mask in masks.values():
        if mask.shape[1] == 16:
            mask[:, :gone] = False
    return masks


def left_whole(model: nn.Module, shape: tuple[int, ...] = (2, 6, 6), *, gone: int = 8) -> bool:
    return compact(model, half(model, gone=gone), trace(model, torch.zeros(1, *shape)), shape) is None


def test_a_plain_network_is_compacted() -> None:
    assert not left_whole(Between())


@pytest.mark.parametrize(("gone", "whole"), [(0, True), (1, False), (8, False)])
def test_less_than_a_tenth_is_not_worth_it(gone: int, whole: bool) -> None:
    model = Between()
    sizes = sum(p.numel() for p in model.parameters())
    left = 16 - gone
    small = left * 2 * 9 + left + left * left * 9 + left + 3 * left + 3
    assert (small / sizes > 0.9) == whole
    assert left_whole(model, gone=gone) == whole


def test_dropout_draws_by_the_number_of_nodes() -> None:
    assert left_whole(Between(lambda m, x: dropout(x, 0.1, m.training)))
    assert left_whole(Between(lambda m, x: dropout(x, 1e-12, m.training))), "even if it changes nothing"
    model = Between()
    model.second = nn.Sequential(nn.Dropout(0.1), model.second)
    assert left_whole(model)
    model.second[0].p = 0.0
    assert not left_whole(model)


def test_a_network_that_cannot_be_traced() -> None:
    model = Between(lambda _, x: torch.fft.fft2(x).abs())
    assert isinstance(trace(model, torch.zeros(1, 2, 6, 6)), Untraceable)
    assert left_whole(model)


@pytest.mark.parametrize("change", [lambda x: x.sort(1).values, lambda x: x.cumsum(1)])
def test_channels_in_an_order_stay(change: Callable[[Tensor], Tensor]) -> None:
    model = Between(lambda _, x: change(x))
    found = compact(model, half(model), trace(model, torch.zeros(1, 2, 6, 6)), (2, 6, 6))
    assert found is not None
    assert found.model.get_parameter("first.weight").shape == (16, 2, 3, 3)
    assert found.model.get_parameter("second.weight").shape == (8, 16, 3, 3)


def test_a_network_with_an_opaque_parameter() -> None:
    model = Between(lambda _, x: x)
    model.second = nn.utils.parametrizations.weight_norm(model.second)
    found = trace(model, torch.zeros(1, 2, 6, 6))
    assert isinstance(found, Graph)
    assert found.opaque
    masks = {"classifier.weight": half(model)["classifier.weight"]}
    assert compact(model, masks, found, (2, 6, 6)) is None


def test_a_scale_that_is_changed_before_it_is_used() -> None:
    """A copy of a parameter has its zeros only as long as nothing is written into it."""

    def scaled(model: nn.Module, x: Tensor) -> Tensor:
        return x * model.scale.repeat(1, 1, 1).add_(1)

    model = Between(scaled)
    model.scale = nn.Parameter(torch.ones(16, 1, 1))
    found = trace(model, torch.zeros(1, 2, 6, 6))
    assert isinstance(found, Graph)
    assert found.opaque == {"scale"}


def test_a_grouped_convolution_keeps_all_that_it_touches() -> None:
    model = Between()
    model.second = nn.Conv2d(16, 16, 3, padding=1, groups=4)
    assert left_whole(model)


@pytest.mark.parametrize(
    "change",
    [
        lambda _, x: x.view(len(x), 16, 6, 6),
        lambda _, x: x if x.shape[1] == 16 else 2 * x,
        lambda m, x: x + x.shape[1] if m.training else x,
    ],
    ids=["view", "condition", "condition in training"],
)
def test_a_network_with_sizes_of_its_own(
    change: Callable[[nn.Module, Tensor], Tensor],
) -> None:
    assert left_whole(Between(change))


def test_a_network_whose_copy_would_compute_with_the_parameters_of_the_first() -> None:
    model = Between(lambda _, x: x * model.scale)
    model.scale = nn.Parameter(torch.ones(1))
    assert left_whole(model)


@pytest.mark.parametrize(
    "norm",
    [nn.GroupNorm(2, 16), nn.LayerNorm([16, 6, 6]), nn.InstanceNorm2d(16)],
    ids=lambda n: type(n).__name__,
)
def test_norms_that_know_their_size(norm: nn.Module) -> None:
    model = Between()
    model.first = nn.Sequential(model.first, norm)
    masks = half(model)
    small = compact(model, masks, trace(model, torch.zeros(1, 2, 6, 6)), (2, 6, 6))
    if small is not None:
        assert small.model.first[0].weight.shape == (16, 2, 3, 3)
