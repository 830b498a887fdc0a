"""Multiply-accumulates, against counts by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from synflow_bench.metrics import uses_of_weights


def macs(model: nn.Module, *shape: int) -> dict[str, int]:
    """MACs of every weight tensor for one example."""
    uses, _ = uses_of_weights(model, torch.zeros(1, *shape))
    return {name: count * model.get_parameter(name).numel() for name, count in uses.items()}


class Applied(nn.Module):
    """Applies `function` to its layer and the input."""

    def __init__(self, layer: nn.Module, function: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.function = layer, function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.layer, x)


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (nn.Linear(5, 3), (5,), 5 * 3),
        (nn.Linear(5, 3), (7, 5), 7 * 5 * 3),
        (nn.Linear(5, 3), (2, 7, 5), 2 * 7 * 5 * 3),
        (nn.Conv2d(3, 8, 3, padding=1), (3, 32, 32), 8 * 3 * 9 * 32 * 32),
        (nn.Conv2d(3, 8, 3, stride=2, padding=1), (3, 32, 32), 8 * 3 * 9 * 16 * 16),
        (nn.Conv2d(3, 8, (1, 5)), (3, 10, 10), 8 * 3 * 5 * 10 * 6),
        (nn.Conv2d(6, 8, 3, groups=2), (6, 10, 10), 8 * 3 * 9 * 8 * 8),
        (nn.Conv2d(6, 6, 3, groups=6, bias=False), (6, 10, 10), 6 * 1 * 9 * 8 * 8),
        (nn.Conv2d(3, 4, 3, dilation=2), (3, 10, 10), 4 * 3 * 9 * 6 * 6),
        (nn.Conv1d(2, 4, 3), (2, 10), 4 * 2 * 3 * 8),
        (nn.Conv3d(2, 4, 3), (2, 5, 6, 7), 4 * 2 * 27 * 3 * 4 * 5),
        (nn.ConvTranspose2d(3, 8, 2, stride=2), (3, 5, 5), 3 * 8 * 4 * 5 * 5),
        (nn.ConvTranspose2d(4, 8, 3, groups=2), (4, 5, 6), 4 * 4 * 9 * 5 * 6),
    ],
    ids=str,
)
def test_one_layer(layer: nn.Module, shape: tuple[int, ...], expected: int) -> None:
    assert macs(layer, *shape) == {"weight": expected}


def test_layers_are_named_as_their_parameters_and_only_weights_count() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 36, 10))
    assert macs(net, 1, 8, 8) == {"0.weight": 2 * 9 * 36, "4.weight": 720}


def test_a_layer_that_is_used_twice_counts_twice() -> None:
    twice = Applied(nn.Linear(4, 4), lambda layer, x: layer(layer(x)))
    assert macs(twice, 4) == {"layer.weight": 2 * 16}


def test_tied_weights_count_every_use_under_the_first_name() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 2))
    net[2].weight = net[0].weight
    assert macs(net, 4) == {"0.weight": 2 * 16, "3.weight": 8}


def test_a_layer_that_is_not_used_has_no_macs() -> None:
    assert macs(Applied(nn.Linear(4, 4), lambda layer, x: x), 4) == {}


def test_a_weight_that_is_computed_from_others_is_left_out() -> None:
    assert macs(nn.Sequential(weight_norm(nn.Linear(4, 4)), nn.Linear(4, 2)), 4) == {"1.weight": 8}


def test_a_layer_called_by_keyword_counts_too() -> None:
    assert macs(Applied(nn.Linear(4, 3), lambda layer, x: layer(input=x)), 4) == {"layer.weight": 12}
    up = Applied(nn.ConvTranspose1d(2, 3, 2), lambda layer, x: layer(input=x))
    assert macs(up, 2, 5) == {"layer.weight": 2 * 3 * 2 * 5}


def test_the_network_is_left_as_it_was_and_runs_in_eval_mode() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    net[1].eval()
    example = torch.ones(1, 4)
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    _, output = uses_of_weights(net, example)
    assert [module.training for module in net.modules()] == [True, True, False, True]
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())
    assert torch.equal(output, net.eval()(example))


def test_no_hook_is_left_behind_where_the_input_does_not_fit() -> None:
    net = nn.Sequential(nn.Linear(4, 4))
    with pytest.raises(RuntimeError):
        uses_of_weights(net, torch.ones(1, 5))
    assert not net[0]._forward_hooks
    assert net.training
