"""Sizes of a masked network, against counts by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from synflow_bench.metrics import NotFollowed, Size, measure_size, trace, uses_of_weights
from synflow_bench.pruning import Masks, prunable_parameters
from synflow_bench.suites import PruningOptions


def net() -> nn.Sequential:
    """A convolution (18 weights, 36 positions), batch norm (4), a linear layer (216 weights, 3 biases)."""
    return nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 3))


def measured(model: nn.Module, keep: Callable[[str, Tensor], Tensor], **options: bool) -> Size:
    parameters = prunable_parameters(model, PruningOptions.model_validate(options))
    masks = Masks({name: keep(name, p) for name, p in parameters.items()})
    uses, _ = uses_of_weights(model, torch.zeros(1, 1, 8, 8))
    return measure_size(model, masks, uses, trace(model, torch.zeros(1, 1, 8, 8)))


def untraced(model: nn.Module, keep: Callable[[str, Tensor], Tensor], **options: bool) -> Size:
    parameters = prunable_parameters(model, PruningOptions.model_validate(options))
    uses, _ = uses_of_weights(model, torch.zeros(1, 1, 8, 8))
    masks = {name: keep(name, p) for name, p in parameters.items()}
    return measure_size(model, masks, uses, NotFollowed("net: cannot follow it"))


def first(count: int) -> Callable[[str, Tensor], Tensor]:
    return lambda _, p: (torch.arange(p.numel()) < count).view(p.shape)


def test_a_dense_network_is_its_own_measure() -> None:
    size = measured(net(), first(10**6))
    assert (size.density, size.compression, size.compression_all) == (1, 1, 1)
    assert size.theoretical_speedup == 1
    assert size.collapsed_layers == ()


def test_sizes_and_macs_of_every_layer() -> None:
    layers = {layer.name: layer for layer in measured(net(), first(9)).layers}
    conv, linear = layers["0.weight"], layers["3.weight"]
    assert (conv.shape, conv.size, conv.kept, conv.macs) == ((2, 1, 3, 3), 18, 9, 18 * 36)
    assert (linear.shape, linear.size, linear.kept, linear.macs) == ((3, 72), 216, 9, 216)


def test_compression_over_prunable_weights_and_over_all_parameters() -> None:
    size = measured(net(), first(9))
    assert size.density == 18 / 234
    assert size.compression == 234 / 18
    assert size.compression_all == (234 + 4 + 3) / (18 + 4 + 3)


def test_speedup_is_dense_over_kept_macs_not_over_weights() -> None:
    assert measured(net(), first(9)).theoretical_speedup == (18 * 36 + 216) / (9 * 36 + 9)


def test_what_may_not_be_pruned_stays_in_the_macs() -> None:
    size = measured(net(), first(9), dense_classifier=True)
    assert size.theoretical_speedup == (18 * 36 + 216) / (9 * 36 + 216)
    assert size.compression == 18 / 9
    assert size.compression_all == 241 / (9 + 223)


def test_biases_and_batch_norm_are_weights_without_macs() -> None:
    size = measured(net(), first(1), prune_bias=True, prune_batchnorm=True)
    assert size.compression == size.compression_all == 241 / 5
    assert {layer.name: layer.macs for layer in size.layers if layer.name.startswith("1")} == {
        "1.weight": 0,
        "1.bias": 0,
    }


def test_layers_without_weights_are_named() -> None:
    size = untraced(net(), lambda name, p: torch.full(p.shape, name != "0.weight"))
    assert size.collapsed_layers == ("0.weight",)
    assert size.theoretical_speedup == (18 * 36 + 216) / 216


def test_there_is_no_speedup_to_tell_where_no_mac_is_left() -> None:
    def only_batch_norm(name: str, p: Tensor) -> Tensor:
        return torch.full(p.shape, name.startswith("1"))

    size = untraced(net(), only_batch_norm, prune_batchnorm=True)
    assert size.theoretical_speedup is None
    assert size.collapsed_layers == ("0.weight", "3.weight")


@pytest.mark.parametrize("kept", [1, 8])
def test_tied_weights_have_one_size_and_the_macs_of_all_their_places(kept: int) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    model[1].weight = model[0].weight
    masks = Masks({n: first(kept)(n, p) for n, p in prunable_parameters(model, PruningOptions()).items()})
    uses, _ = uses_of_weights(model, torch.zeros(1, 4))
    size = measure_size(model, masks, uses)
    assert size.compression == (16 + 8) / (2 * kept)
    assert size.theoretical_speedup == (2 * 16 + 8) / (3 * kept)


def test_effective_compression_counts_what_lies_on_a_path() -> None:
    # Channel 0 keeps its 9 weights, channel 1 none: of the 36 features of each, the first are fed.
    size = measured(net(), lambda name, p: first(9 if name == "0.weight" else p.numel())(name, p))
    conv, linear = size.layers
    assert (conv.effective_kept, linear.effective_kept) == (9, 3 * 36)
    assert size.effective_compression == 234 / (9 + 108)
    assert size.compression == 234 / (9 + 216)
    assert size.collapsed_layers == ()
    assert size.not_followed is None


def test_a_layer_collapses_when_nothing_of_it_is_on_a_path() -> None:
    size = measured(net(), lambda name, p: torch.full(p.shape, name != "0.weight"))
    assert [layer.kept for layer in size.layers] == [0, 216]
    assert [layer.effective_kept for layer in size.layers] == [0, 0]
    assert size.collapsed_layers == ("0.weight", "3.weight")
    assert size.effective_compression is None


def test_a_layer_that_the_network_never_uses_has_not_collapsed() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Linear(4, 2), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    model, example = Idle(), torch.zeros(1, 4)
    uses, _ = uses_of_weights(model, example)
    masks = Masks.ones(prunable_parameters(model, PruningOptions()))
    size = measure_size(model, masks, uses, trace(model, example))
    assert size.collapsed_layers == ()
    assert size.effective_compression == 2


def test_what_cannot_be_followed_costs_only_these_numbers() -> None:
    size = untraced(net(), first(9))
    assert size.not_followed == "net: cannot follow it"
    assert size.effective_compression is None
    assert [layer.effective_kept for layer in size.layers] == [None, None]
    assert size.compression == 234 / 18


def test_a_prunable_weight_that_is_only_computed_with_is_named() -> None:
    class Doubled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.linear(x, 2 * self.layer.weight)

    model, example = Doubled(), torch.zeros(1, 4)
    masks = Masks.ones(prunable_parameters(model, PruningOptions()))
    size = measure_size(model, masks, {}, trace(model, example))
    assert size.not_followed is not None
    assert "'layer.weight'" in size.not_followed
    assert size.effective_compression is None
