"""Sizes and multiply-accumulates of networks, against counts by hand."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal, spectral_norm, weight_norm
from torch.nn.utils.parametrize import register_parametrization
from torch.nn.utils.rnn import pack_sequence
from torch.utils.flop_counter import FlopCounterMode

from synflow_bench.graph import Untraceable, plain_attention, trace
from synflow_bench.metrics import Size, measure_size, uses_of_weights
from synflow_bench.pruning import Masks, prunable_parameters
from synflow_bench.suites import PruningOptions


@pytest.fixture(autouse=True)
def _on_one_thread(one_thread: None) -> None:
    """Two are slower on networks of this size."""


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


class Symmetric(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.triu() + x.triu(1).T


def older(layer: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its older weight norm deprecated
        return nn.utils.weight_norm(layer)


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (weight_norm(nn.Linear(4, 4)), "0.parametrizations.weight.original1"),
        (spectral_norm(nn.Linear(4, 4)), "0.parametrizations.weight.original"),
        (older(nn.Linear(4, 4)), "0.weight_v"),
    ],
    ids=["weight norm", "spectral norm", "older weight norm"],
)
def test_a_computed_weight_has_the_macs_of_what_is_trained(layer: nn.Module, name: str) -> None:
    net = nn.Sequential(layer, nn.Linear(4, 2))
    state = copy.deepcopy(net.state_dict())
    assert macs(net, 4) == {name: 16, "1.weight": 8}
    assert all(torch.equal(tensor, state[key]) for key, tensor in net.state_dict().items())
    uses, _ = uses_of_weights(net, torch.zeros(1, 4))
    size = measure_size(net, {name: first(4)(name, net.get_parameter(name))}, uses, None)
    assert size.theoretical_speedup == (16 + 8) / (4 + 8)


@pytest.mark.parametrize(
    "change", [orthogonal, lambda layer: parametrized(layer)], ids=["orthogonal", "symmetric"]
)
def test_masks_that_leave_a_computed_weight_dense_save_nothing(
    change: Callable[[nn.Module], nn.Module],
) -> None:
    net, name = nn.Sequential(change(nn.Linear(4, 4)), nn.Linear(4, 2)), "0.parametrizations.weight.original"
    uses, _ = uses_of_weights(net, torch.zeros(1, 4))
    assert uses == {"0.weight": 1, "1.weight": 1}
    size = measure_size(net, {name: torch.eye(4).bool()}, uses, trace(net, torch.zeros(1, 4)))
    assert size.theoretical_speedup == 1
    assert size.compression == 4
    assert size.not_followed is not None
    assert name in size.not_followed


@pytest.mark.parametrize("traced", [False, True])
def test_masks_make_no_weights_smaller_that_a_forward_computes(traced: bool) -> None:
    class Standardized(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
            return nn.functional.conv2d(x, weight, self.bias)

    net = nn.Sequential(Standardized(2, 4, 3), nn.Conv2d(4, 4, 3), nn.Flatten())
    example = torch.zeros(1, 2, 5, 5)
    masks = {n: torch.zeros_like(p, dtype=torch.bool) for n, p in net.named_parameters() if p.dim() > 1}
    for mask in masks.values():
        mask[0] = True
    graph = trace(net, example) if traced else None
    size = measure_size(net, masks, uses_of_weights(net, example)[0], graph)
    dense = 4 * 2 * 9 * 9
    assert (size.macs, size.dense_macs) == (dense + 4 * 9, dense + 4 * 4 * 9)
    assert size.effective_compression is None


def parametrized(layer: nn.Module) -> nn.Module:
    register_parametrization(layer, "weight", Symmetric())
    return layer


class Attends(nn.Module):
    """Attention from the first `queries` of the tokens (T, 8) to all, or to their first 6 features."""

    def __init__(self, queries: int, **options: Any) -> None:
        super().__init__()
        self.queries, self.features = queries, options.get("kdim", 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, **options)

    def forward(self, x: Tensor) -> Tensor:
        memory = x[..., : self.features]
        out: Tensor = self.attention(x[:, : self.queries], memory, value=memory, need_weights=False)[0]
        return out


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (Attends(5), {"in_proj_weight": 5 * 192, "out_proj.weight": 5 * 64}),
        (Attends(2), {"in_proj_weight": 2 * 64 + 5 * 128, "out_proj.weight": 2 * 64}),
        (
            Attends(2, kdim=6, vdim=6),
            {"q_proj_weight": 128, "k_proj_weight": 240, "v_proj_weight": 240, "out_proj.weight": 128},
        ),
    ],
    ids=["self", "cross", "cross, other sizes"],
)
def test_attention_projects_every_token_once(model: nn.Module, expected: dict[str, int]) -> None:
    uses, _ = uses_of_weights(model, torch.zeros(1, 5, 8))
    masks = Masks.ones(prunable_parameters(model, PruningOptions()))
    layers = {layer.name: layer.macs for layer in measure_size(model, masks, uses).layers}
    assert layers == {f"attention.{name}": count for name, count in expected.items()}
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad(), plain_attention():
        model.eval()(torch.zeros(1, 5, 8))
    products = 2 * 2 * (2 * model.queries * 5 * 4)  # type: ignore[operator]  # of activations, in both heads
    assert counter.get_total_flops() == 2 * sum(expected.values()) + products


def test_entries_that_are_used_unequally_count_by_themselves() -> None:
    model = Attends(2)
    uses, _ = uses_of_weights(model, torch.zeros(1, 5, 8))
    whole = torch.ones(24, 8, dtype=torch.bool)
    for rows, used in ((slice(0, 8), 2), (slice(8, 24), 5)):
        mask = whole.clone()
        mask[rows] = False
        size = measure_size(model, {"attention.in_proj_weight": mask}, uses)
        dense = 2 * 64 + 5 * 128 + 2 * 64
        assert size.theoretical_speedup == dense / (dense - used * (rows.stop - rows.start) * 8)


def test_a_transformer_counts_all_of_its_layers() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    assert macs(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), 5, 8) == {
        f"layers.{i}.{name}": 5 * size
        for i in range(2)
        for name, size in {
            "self_attn.in_proj_weight": 192,
            "self_attn.out_proj.weight": 64,
            "linear1.weight": 128,
            "linear2.weight": 128,
        }.items()
    }


@pytest.mark.parametrize(("kind", "gates"), [(nn.RNN, 1), (nn.GRU, 3), (nn.LSTM, 4)])
def test_recurrent_layers_use_every_weight_once_per_step(kind: type[nn.Module], gates: int) -> None:
    layer = Applied(kind(3, 4, 2, batch_first=True), lambda layer, x: layer(x)[0])
    assert macs(layer, 5, 3) == {
        "layer.weight_ih_l0": 5 * gates * 12,
        "layer.weight_hh_l0": 5 * gates * 16,
        "layer.weight_ih_l1": 5 * gates * 16,
        "layer.weight_hh_l1": 5 * gates * 16,
    }


def test_recurrent_cells_and_packed_sequences() -> None:
    assert macs(Applied(nn.GRUCell(3, 4), lambda cell, x: cell(x)), 3) == {
        "layer.weight_ih": 36,
        "layer.weight_hh": 48,
    }
    packed = Applied(
        nn.RNN(3, 4),
        lambda layer, x: layer(pack_sequence([x[0], x[0, :2]]))[1],
    )
    assert macs(packed, 5, 3) == {"layer.weight_ih_l0": 7 * 12, "layer.weight_hh_l0": 7 * 16}


def test_embeddings_multiply_nothing_and_a_tied_output_does() -> None:
    net = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9, bias=False))
    uses, _ = uses_of_weights(net, torch.zeros(1, 5, dtype=torch.int64))
    assert uses == {"1.weight": 5}
    net[1].weight = net[0].weight
    uses, _ = uses_of_weights(net, torch.zeros(1, 5, dtype=torch.int64))
    assert uses == {"0.weight": 5}


def test_bilinear_layers_use_every_weight_once_per_row() -> None:
    assert macs(Applied(nn.Bilinear(3, 3, 2), lambda layer, x: layer(x, x)), 5, 3) == {"layer.weight": 5 * 18}


def test_a_layer_called_by_keyword_counts_too() -> None:
    assert macs(Applied(nn.Linear(4, 3), lambda layer, x: layer(input=x)), 4) == {"layer.weight": 12}
    for named in ({}, {"output_size": (6,)}):
        up = Applied(nn.ConvTranspose1d(2, 3, 2), lambda layer, x, named=named: layer(**named, input=x))
        assert macs(up, 2, 5) == {"layer.weight": 2 * 3 * 2 * 5}
    state = torch.zeros(1, 1, 4), torch.zeros(1, 1, 4)
    lstm = Applied(nn.LSTM(3, 4), lambda layer, x: layer(hx=state, input=x[0].unsqueeze(1))[0])
    assert macs(lstm, 5, 3) == {"layer.weight_ih_l0": 5 * 4 * 12, "layer.weight_hh_l0": 5 * 4 * 16}


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
    return measure_size(model, masks, uses, Untraceable("net: cannot follow it"))


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


def test_weights_on_no_path_have_no_share_in_the_speedup() -> None:
    # Channel 0 keeps its 9 weights, channel 1 none: 36 of the 72 inputs of the linear layer are constant.
    size = measured(net(), lambda name, p: first(9 if name == "0.weight" else p.numel())(name, p))
    assert size.theoretical_speedup == (18 * 36 + 216) / (9 * 36 + 3 * 36)


@pytest.mark.parametrize("empty", ["0.weight", "3.weight"])
def test_a_network_without_a_path_has_no_speedup_whatever_it_keeps(empty: str) -> None:
    size = measured(net(), lambda name, p: torch.full(p.shape, name != empty))
    assert (size.theoretical_speedup, size.effective_compression) == (None, None)
    assert size.compression > 1


def test_a_path_past_all_prunable_weights_has_a_speedup() -> None:
    class Shortcut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.classifier = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.classifier(x + self.layer(x))
            return out

    model, example = Shortcut(), torch.zeros(1, 4)
    uses, _ = uses_of_weights(model, example)
    masks = {"layer.weight": torch.zeros(4, 4).bool(), "layer.bias": torch.ones(4).bool()}
    size = measure_size(model, masks, uses, trace(model, example))
    assert size.theoretical_speedup == (16 + 8) / 8


def test_a_computed_weight_does_not_hide_that_no_path_is_left() -> None:
    model, example = nn.Sequential(nn.Linear(4, 4), spectral_norm(nn.Linear(4, 2))), torch.zeros(1, 4)
    uses, _ = uses_of_weights(model, example)
    masks = {"0.weight": torch.zeros(4, 4).bool(), "0.bias": torch.ones(4).bool()}
    size = measure_size(model, masks, uses, trace(model, example))
    assert size.not_followed is None
    assert size.theoretical_speedup is None


def test_kernel_positions_that_meet_only_padding_count_on_neither_side_of_the_speedup() -> None:
    model, example = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, bias=False)), torch.zeros(1, 1, 1, 1)
    uses, _ = uses_of_weights(model, example)
    masks = {"0.weight": torch.ones(2, 1, 3, 3).bool()}
    size = measure_size(model, masks, uses, trace(model, example))
    assert (size.compression, size.effective_compression, size.theoretical_speedup) == (1, 9, 1)
    masks["0.weight"][1] = False
    assert measure_size(model, masks, uses, trace(model, example)).theoretical_speedup == 2


def test_what_may_not_be_pruned_stays_in_the_macs_while_it_is_on_a_path() -> None:
    size = measured(net(), first(9), dense_classifier=True)
    assert size.theoretical_speedup == (18 * 36 + 216) / (9 * 36 + 108)
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


def test_there_is_no_speedup_where_no_mac_is_left() -> None:
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
    # Channel 0 keeps its 9 weights, channel 1 none: the input reaches the 36 features of channel 0 only.
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
    class Partial(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(4, 2), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    model, example = Partial(), torch.zeros(1, 4)
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
