"""What is on a path, in networks small enough to see it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from synflow_bench.pruning import ResidualScale

Effective = Callable[..., dict[str, list[int]]]


class Applied(nn.Module):
    """Calls `function` with itself, which holds `layers`, and the input."""

    def __init__(self, function: Callable[..., Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def linear(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=False)


def conv(inputs: int, outputs: int, **options: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1, bias=False, **options)


def test_a_weight_counts_when_something_leads_to_it_and_on_from_it(effective: Effective) -> None:
    net = Applied(lambda net, x: net.b(net.a(x).relu()), a=linear(2, 3), b=linear(3, 2))
    # Hidden unit 0 is fed and read, unit 1 is fed only, unit 2 is read only.
    left = effective(net, (2,), a__weight=[1, 0, 0, 1, 0, 0], b__weight=[1, 0, 1, 0, 0, 1])
    assert left == {"a.weight": [1, 0, 0, 0, 0, 0], "b.weight": [1, 0, 0, 0, 0, 0]}


def test_where_no_path_is_left_nothing_counts(effective: Effective) -> None:
    net = nn.Sequential(linear(2, 2), nn.ReLU(), linear(2, 2), nn.ReLU(), linear(2, 1))
    left = effective(net, (2,), **{"2__weight": [0, 0, 0, 0]})
    assert sum(map(sum, left.values())) == 0


@pytest.mark.parametrize("position", range(9))
def test_any_position_of_a_kernel_is_an_edge(effective: Effective, position: int) -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Flatten(), nn.Linear(16, 1))
    kernel = [int(i == position) for i in range(9)]
    assert effective(net, (1, 4, 4), **{"0__weight": kernel})["0.weight"] == kernel


def test_a_flattened_channel_is_a_block_of_features(effective: Effective) -> None:
    net = nn.Sequential(conv(1, 2), nn.Flatten(), linear(8, 2))
    masks = {"0__weight": [0, 1], "2__weight": [1, 1, 1, 1, 0, 1, 0, 0, 1, *[0] * 7]}
    left = effective(net, (1, 2, 2), **masks)
    assert left == {"0.weight": [0, 1], "2.weight": [0, 0, 0, 0, 0, 1, 0, 0] + [0] * 8}


def test_groups_see_their_own_channels_only(effective: Effective) -> None:
    net = Applied(lambda net, x: net.b(net.a(x)), a=conv(2, 4), b=conv(4, 2, groups=2))
    # Group 0 reads channels 0 and 1, of which only 1 is fed; group 1 reads 2 and 3, of which none is.
    left = effective(net, (2, 3, 3), a__weight=[0, 0, 1, 0, 0, 0, 0, 0], b__weight=[1, 1, 1, 1])
    assert left == {"a.weight": [0, 0, 1, 0, 0, 0, 0, 0], "b.weight": [0, 1, 0, 0]}


def test_a_transposed_convolution_in_groups_is_laid_out_the_other_way(effective: Effective) -> None:
    up = nn.ConvTranspose2d(4, 2, 1, groups=2, bias=False)
    net = Applied(lambda net, x: net.b(net.a(x)), a=conv(1, 4), b=up)
    left = effective(net, (1, 3, 3), a__weight=[1, 0, 1, 1], b__weight=[1, 1, 0, 1])
    assert left == {"a.weight": [1, 0, 0, 1], "b.weight": [1, 0, 0, 1]}


def test_a_residual_sum_is_fed_by_either_side(effective: Effective) -> None:
    net = Applied(lambda net, x: net.c(net.a(x) + net.b(net.a(x))), a=conv(1, 2), b=conv(2, 2), c=conv(2, 1))
    # Branch b is empty: what it reads and feeds still counts through the shortcut.
    left = effective(net, (1, 3, 3), b__weight=[0, 0, 0, 0])
    assert left == {"a.weight": [1, 1], "b.weight": [0, 0, 0, 0], "c.weight": [1, 1]}


def test_a_weight_that_feeds_a_dead_channel_of_a_sum_does_not_count(effective: Effective) -> None:
    net = Applied(lambda net, x: net.c(net.a(x) + net.b(net.a(x))), a=conv(1, 2), b=conv(2, 2), c=conv(2, 1))
    left = effective(net, (1, 3, 3), c__weight=[1, 0])
    assert left["b.weight"] == [1, 1, 0, 0], "channel 1 is read by b alone"
    assert left["a.weight"] == [1, 1]


def test_a_residual_scale_cuts_its_channel_of_the_shortcut(effective: Effective) -> None:
    def block(net: nn.Module, x: Tensor) -> Tensor:
        x = net.a(x)
        return net.c(net.b(x) + net.s(x))

    net = Applied(block, a=conv(1, 2), b=conv(2, 2), c=conv(2, 1), s=ResidualScale(2))
    left = effective(net, (1, 3, 3), b__weight=[0, 0, 0, 0], s__scale=[1, 0])
    assert left == {"a.weight": [1, 0], "b.weight": [0] * 4, "c.weight": [1, 0], "s.scale": [1, 0]}


def test_concatenated_channels_stay_themselves(effective: Effective) -> None:
    def joined(net: nn.Module, x: Tensor) -> Tensor:
        return net.c(torch.cat([net.a(x), net.b(x)], 1))

    net = Applied(joined, a=conv(1, 2), b=conv(1, 1), c=conv(3, 1))
    left = effective(net, (1, 3, 3), a__weight=[1, 0], c__weight=[0, 1, 1])
    assert left == {"a.weight": [0, 0], "b.weight": [1], "c.weight": [0, 0, 1]}


def test_channels_that_are_shuffled_are_followed(effective: Effective) -> None:
    net = Applied(lambda net, x: net.b(F.channel_shuffle(net.a(x), 2)), a=conv(1, 4), b=conv(4, 1))
    # Two groups of two: channels 0 1 2 3 come out as 0 2 1 3.
    left = effective(net, (1, 3, 3), b__weight=[0, 1, 0, 0])
    assert left["a.weight"] == [0, 0, 1, 0]


def test_a_shortcut_padded_with_zeros_feeds_only_what_it_has(effective: Effective) -> None:
    def padded(net: nn.Module, x: Tensor) -> Tensor:
        x = net.a(x)
        return net.c(net.b(x) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 1)))

    net = Applied(padded, a=conv(1, 2), b=nn.Conv2d(2, 4, 1, stride=2, bias=False), c=conv(4, 1))
    left = effective(net, (1, 4, 4), b__weight=[0] * 8)
    assert left == {"a.weight": [1, 1], "b.weight": [0] * 8, "c.weight": [0, 1, 1, 0]}


def test_a_pruned_batch_norm_scale_cuts_its_channel(effective: Effective) -> None:
    net = nn.Sequential(conv(1, 2), nn.BatchNorm2d(2), nn.ReLU(), conv(2, 1))
    left = effective(net, (1, 3, 3), **{"1__weight": [1, 0]})
    # Its shift makes the channel a constant, which is no path, and so does not count either.
    assert left == {"0.weight": [1, 0], "1.weight": [1, 0], "1.bias": [1, 0], "3.weight": [1, 0]}


def test_a_bias_counts_when_its_unit_is_on_a_path_and_opens_none(effective: Effective) -> None:
    net = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2))
    masks = {"0__weight": [1, 0], "0__bias": [0, 1], "2__weight": [1, 1, 0, 1], "2__bias": [1, 1]}
    left = effective(net, (1,), **masks)
    assert left["0.bias"] == [0, 0], "the first is pruned, the second belongs to a constant unit"
    assert left["2.weight"] == [1, 0, 0, 0]
    assert left["2.bias"] == [1, 0]


def test_a_weight_used_twice_counts_when_one_use_does(effective: Effective) -> None:
    net = Applied(lambda net, x: net.b(net.a(net.a(x))), a=linear(2, 2), b=linear(2, 1))
    # 0 -> 1 in the first use, 1 -> 0 in the second: each use needs one of the two weights.
    left = effective(net, (2,), a__weight=[0, 1, 1, 0], b__weight=[1, 0])
    assert left["a.weight"] == [0, 1, 1, 0]


def test_tied_weights_count_under_their_first_name(effective: Effective) -> None:
    net = nn.Sequential(linear(2, 2), nn.ReLU(), linear(2, 2), nn.ReLU(), linear(2, 1))
    net[2].weight = net[0].weight
    left = effective(net, (2,), **{"0__weight": [1, 0, 0, 0], "4__weight": [1, 1]})
    assert left == {"0.weight": [1, 0, 0, 0], "4.weight": [1, 0]}


@pytest.mark.parametrize(
    "norm", [nn.GroupNorm(1, 2), nn.GroupNorm(2, 2), nn.InstanceNorm2d(2), nn.LayerNorm([2, 3, 3])], ids=str
)
def test_shared_statistics_are_no_path(effective: Effective, norm: nn.Module) -> None:
    net = nn.Sequential(conv(1, 2), norm, conv(2, 1))
    assert effective(net, (1, 3, 3), **{"2__weight": [0, 1]})["0.weight"] == [0, 1]


def test_squeeze_and_excitation_feeds_every_channel_that_it_scales(effective: Effective) -> None:
    def excited(net: nn.Module, x: Tensor) -> Tensor:
        x = net.a(x)
        return net.c(x * net.s(x.mean((2, 3), keepdim=True)).sigmoid())

    net = Applied(excited, a=conv(1, 2), s=conv(2, 2), c=conv(2, 1))
    # Channel 1 is read only to scale channel 0.
    left = effective(net, (1, 3, 3), s__weight=[0, 1, 0, 0], c__weight=[1, 0])
    assert left == {"a.weight": [1, 1], "s.weight": [0, 1, 0, 0], "c.weight": [1, 0]}


def test_an_unused_layer_is_on_no_path(effective: Effective) -> None:
    net = Applied(lambda net, x: net.a(x), a=linear(2, 1), b=linear(2, 1))
    assert effective(net, (2,)) == {"a.weight": [1, 1], "b.weight": [0, 0]}


def test_what_is_zero_but_kept_is_an_edge_and_large_values_do_not_overflow(effective: Effective) -> None:
    net = nn.Sequential(linear(2, 2), nn.ReLU(), linear(2, 1))
    with torch.no_grad():
        net[0].weight.zero_()
        net[2].weight.fill_(3e38)
    assert effective(net, (2,)) == {"0.weight": [1, 1, 1, 1], "2.weight": [1, 1]}
