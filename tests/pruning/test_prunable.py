"""Which parameters may be pruned, under every option."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from synflow_bench.errors import ModelError
from synflow_bench.pruning import ResidualScale, prunable_parameters
from synflow_bench.suites import PruningOptions


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
        self.body = nn.ModuleDict({"up": nn.ConvTranspose2d(8, 4, 2), "norm": nn.LayerNorm(4)})
        self.scale = nn.Parameter(nn.Linear(1, 1).weight.detach())
        self.head = nn.Linear(4, 2, bias=False)


def names(model: nn.Module, **options: bool) -> list[str]:
    return list(prunable_parameters(model, PruningOptions(**options)))


def test_weights_of_linear_and_convolutional_layers_in_the_order_of_modules() -> None:
    assert names(Nested()) == ["stem.0.weight", "body.up.weight", "head.weight"]


def test_biases_where_there_are_any() -> None:
    assert names(Nested(), prune_bias=True) == [
        "stem.0.weight",
        "stem.0.bias",
        "body.up.weight",
        "body.up.bias",
        "head.weight",
    ]


def test_batch_norm_scales_and_shifts() -> None:
    assert names(Nested(), prune_batchnorm=True) == [
        "stem.0.weight",
        "stem.1.weight",
        "stem.1.bias",
        "body.up.weight",
        "head.weight",
    ]
    plain = nn.Sequential(nn.Conv1d(1, 2, 1), nn.BatchNorm1d(2, affine=False))
    assert names(plain, prune_batchnorm=True) == ["0.weight"]


def test_residual_scales() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), ResidualScale(8), nn.Flatten(), nn.Linear(8, 2))
    assert names(net) == ["0.weight", "3.weight"]
    assert names(net, prune_residual=True) == ["0.weight", "1.scale", "3.weight"]


def test_residual_scales_of_a_network_that_has_none_are_an_error_with_the_way_out() -> None:
    with pytest.raises(ModelError) as refusal:
        names(Nested(), prune_residual=True)
    assert str(refusal.value) == (
        "Nested has no residual scales to prune; leave out prune_residual, or build a residual network with "
        "its option `residual = true`"
    )


def test_a_residual_scale_changes_nothing_until_entries_are_removed() -> None:
    scale, x = ResidualScale(3), torch.randn(2, 3, 4, 5)
    assert torch.equal(scale(x), x)
    assert not scale.scale.requires_grad
    scale.scale.data[1] = 0
    assert torch.equal(scale(x), x * torch.tensor([1.0, 0.0, 1.0]).view(1, 3, 1, 1))


def test_a_dense_classifier_is_the_last_linear_layer_with_its_bias() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Conv1d(1, 1, 1))
    assert names(net, dense_classifier=True, prune_bias=True) == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_a_dense_classifier_is_the_last_convolution_where_nothing_is_linear() -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 10, 1), nn.Flatten())
    assert names(net, dense_classifier=True) == ["0.weight"]


def test_a_layer_by_itself_is_a_network() -> None:
    assert names(nn.Linear(2, 2), prune_bias=True) == ["weight", "bias"]


def tied() -> nn.Sequential:
    net = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3), nn.Linear(3, 3))
    net[3].weight = net[0].weight
    return net


def test_tied_weights_are_pruned_once_under_the_first_name() -> None:
    assert names(tied()) == ["0.weight", "2.weight"]


def test_what_is_tied_to_a_dense_classifier_stays_dense_too() -> None:
    assert names(tied(), dense_classifier=True) == ["2.weight"]


def test_a_module_in_two_places_is_pruned_once() -> None:
    layer = nn.Linear(3, 3)
    assert names(nn.Sequential(layer, nn.ReLU(), layer)) == ["0.weight"]


def test_a_weight_that_is_computed_from_others_is_no_parameter() -> None:
    net = nn.Sequential(weight_norm(nn.Linear(3, 3)), nn.Linear(3, 2))
    assert names(net) == ["1.weight"]


@pytest.mark.parametrize(
    ("model", "options"),
    [
        (nn.Sequential(nn.ReLU(), nn.BatchNorm1d(3)), {}),
        (nn.Sequential(nn.Flatten(), nn.Linear(3, 2)), {"dense_classifier": True}),
        (nn.Identity(), {"prune_bias": True, "dense_classifier": True}),
    ],
)
def test_a_network_with_nothing_to_prune_is_an_error(model: nn.Module, options: dict[str, bool]) -> None:
    with pytest.raises(ModelError, match="has nothing to prune"):
        names(model, **options)


def test_batch_norm_alone_can_be_pruned_if_asked_for() -> None:
    assert names(nn.Sequential(nn.ReLU(), nn.BatchNorm1d(3)), prune_batchnorm=True) == ["1.weight", "1.bias"]
