"""The parameters that may be pruned: weight matrices, tied ones once, others by options."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils.prune import l1_unstructured

import synflow_bench as sfb
from synflow_bench.errors import ModelError, UnknownNameError, UsageError
from synflow_bench.pruning import ResidualScale, prunable_parameters
from synflow_bench.pruning.prunable import bare_name, left_out, unexpectedly_left_out
from synflow_bench.suites import PruningOptions


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
        self.body = nn.ModuleDict({"up": nn.ConvTranspose2d(8, 4, 2), "norm": nn.LayerNorm(4)})
        self.scale = nn.Parameter(nn.Linear(1, 1).weight.detach())
        self.head = nn.Linear(4, 2, bias=False)


def names(model: nn.Module, **options: object) -> list[str]:
    return list(prunable_parameters(model, PruningOptions.model_validate(options)))


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


def test_residual_scales_of_a_network_that_has_none_are_an_error() -> None:
    with pytest.raises(ModelError, match="Nested has no residual scales"):
        names(Nested(), prune_residual=True)


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


def test_batch_norm_alone_can_be_pruned() -> None:
    assert names(nn.Sequential(nn.ReLU(), nn.BatchNorm1d(3)), prune_batchnorm=True) == ["1.weight", "1.bias"]


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.Bilinear(3, 4, 2), ["weight"]),
        (nn.Conv3d(2, 2, 1), ["weight"]),
        (nn.ConvTranspose1d(2, 3, 2), ["weight"]),
        (nn.MultiheadAttention(4, 2), ["in_proj_weight", "out_proj.weight"]),
        (nn.MultiheadAttention(4, 2, add_bias_kv=True), ["in_proj_weight", "out_proj.weight"]),
        (
            nn.MultiheadAttention(4, 2, kdim=3, vdim=5),
            ["q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"],
        ),
        (nn.RNN(3, 4), ["weight_ih_l0", "weight_hh_l0"]),
        (nn.GRU(3, 4, 2), ["weight_ih_l0", "weight_hh_l0", "weight_ih_l1", "weight_hh_l1"]),
        (
            nn.LSTM(3, 4, proj_size=2, bidirectional=True),
            [f"weight_{kind}_l0{end}" for end in ("", "_reverse") for kind in ("ih", "hh", "hr")],
        ),
        (nn.RNNCell(3, 4), ["weight_ih", "weight_hh"]),
        (nn.LSTMCell(3, 4), ["weight_ih", "weight_hh"]),
        (nn.GRUCell(3, 4), ["weight_ih", "weight_hh"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_weight_matrices_of_every_kind_of_layer(layer: nn.Module, expected: list[str]) -> None:
    assert names(layer) == expected
    assert left_out(layer, expected) == ()


def test_biases_of_attention_and_recurrent_layers() -> None:
    assert names(nn.MultiheadAttention(4, 2, add_bias_kv=True), prune_bias=True) == [
        *("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"),
    ]
    assert names(nn.RNN(3, 4), prune_bias=True) == [
        "weight_ih_l0",
        "weight_hh_l0",
        "bias_ih_l0",
        "bias_hh_l0",
    ]


@pytest.mark.parametrize("table", [nn.Embedding(9, 3), nn.EmbeddingBag(9, 3)])
def test_embeddings_by_an_option(table: nn.Module) -> None:
    net = nn.Sequential(table, nn.Linear(3, 2))
    assert names(net) == ["1.weight"]
    assert unexpectedly_left_out(net, PruningOptions()) == ("0.weight",)
    assert names(net, prune_embedding=True) == ["0.weight", "1.weight"]
    assert unexpectedly_left_out(net, PruningOptions(prune_embedding=True)) == ()


@pytest.mark.parametrize("table_first", [True, False])
def test_a_table_that_is_tied_to_the_output_is_prunable_in_any_order(table_first: bool) -> None:
    net, table, head = nn.Module(), nn.Embedding(9, 4), nn.Linear(4, 9, bias=False)
    head.weight = table.weight
    for name, part in [("table", table), ("head", head)][:: 1 if table_first else -1]:
        net.add_module(name, part)
    first = "table.weight" if table_first else "head.weight"
    assert names(net) == names(net, prune_embedding=True) == [first]
    assert left_out(net, [first]) == ()
    for name in ("table", "head", "*.weight"):
        with pytest.raises(ModelError, match="nothing to prune"):
            names(net, skip=name)


class Symmetric(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.triu() + x.triu(1).T


class LowRank(nn.Module):
    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        return one @ other

    def right_inverse(self, whole: Tensor) -> tuple[Tensor, Tensor]:
        return whole[:, :2].clone(), whole[:2].clone()


class Adapted(nn.Module):
    """An adapter: a trained sum, as in LoRA."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Parameter(torch.ones(2, 4)), nn.Parameter(torch.zeros(4, 2))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up @ self.down


def older(function: Callable[[nn.Module], nn.Module]) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its older weight norm deprecated
        return function(nn.Linear(4, 4))


def parametrized(module: nn.Module) -> nn.Module:
    layer = nn.Linear(4, 4)
    parametrize.register_parametrization(layer, "weight", module)
    return layer


@pytest.mark.parametrize(
    ("layer", "expected", "out"),
    [
        (parametrizations.weight_norm(nn.Linear(4, 4)), ["parametrizations.weight.original1"], ()),
        (parametrizations.spectral_norm(nn.Conv2d(2, 4, 2)), ["parametrizations.weight.original"], ()),
        (parametrizations.orthogonal(nn.Linear(4, 4)), ["parametrizations.weight.original"], ()),
        (parametrized(Symmetric()), ["parametrizations.weight.original"], ()),
        (parametrized(LowRank()), [f"parametrizations.weight.original{i}" for i in (0, 1)], ()),
        (
            parametrized(Adapted()),
            ["parametrizations.weight.original"],
            ("parametrizations.weight.0.down", "parametrizations.weight.0.up"),
        ),
        (older(nn.utils.weight_norm), ["weight_v"], ()),
        (older(nn.utils.spectral_norm), ["weight_orig"], ()),
        (
            older(lambda layer: l1_unstructured(layer, "weight", 0.5)),
            ["weight_orig"],
            (),
        ),
    ],
    ids=str,
)
def test_a_weight_that_is_computed_is_pruned_through_what_is_trained(
    layer: nn.Module, expected: list[str], out: tuple[str, ...]
) -> None:
    assert names(layer) == expected
    assert left_out(layer, expected) == out


class Changed(nn.Linear):
    """A linear layer that multiplies with what it computes from its weight."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__(4, 4)
        self.change, self.gain = change, nn.Parameter(torch.zeros(4, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.change(self.weight * self.gain).t() + self.bias


class Standardized(nn.Conv1d):
    """A convolution whose weights have mean 0 for each output."""

    def __init__(self) -> None:
        super().__init__(1, 4, 1)

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return nn.functional.conv1d(x, weight - weight.mean(), bias)


@pytest.mark.parametrize(
    ("layer", "dense"),
    [
        (Standardized(), True),
        (Changed(lambda weight: weight - weight.mean()), True),
        (Changed(lambda weight: weight / 2), False),
        (parametrizations.orthogonal(nn.Linear(4, 4)), True),
        (parametrized(Symmetric()), True),
        (parametrizations.weight_norm(nn.Linear(4, 4)), False),
        (parametrizations.spectral_norm(nn.Linear(4, 4)), False),
        (parametrized(LowRank()), False),
    ],
    ids=[
        "standardized",
        "centred",
        "halved",
        "orthogonal",
        "symmetric",
        "weight norm",
        "spectral norm",
        "low rank",
    ],
)
def test_a_warning_names_masks_that_leave_computed_weights_dense(layer: nn.Module, dense: bool) -> None:
    net = nn.Sequential(layer, nn.ReLU(), nn.Linear(4, 3))
    state = copy.deepcopy(net.state_dict())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sfb.prune(net, "magnitude", compression=2)
    assert any("leaves no zeros" in str(warning.message) for warning in caught) == dense
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())


def test_weight_norm_of_recurrent_layers_and_attention() -> None:
    rnn = parametrizations.weight_norm(nn.LSTM(3, 4), "weight_hh_l0")
    assert names(rnn) == ["weight_ih_l0", "parametrizations.weight_hh_l0.original1"]
    attention = parametrizations.weight_norm(nn.MultiheadAttention(4, 2), "in_proj_weight")
    assert names(attention) == ["parametrizations.in_proj_weight.original1", "out_proj.weight"]


def test_other_weights_are_named_and_vectors_are_not() -> None:
    class Custom(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.norm = nn.Linear(4, 4), nn.LayerNorm(4)
            self.experts = nn.Parameter(torch.ones(3, 4, 4))
            self.token, self.places = nn.Parameter(torch.ones(1, 1, 4)), nn.Parameter(torch.ones(1, 9, 4))
            self.gain = nn.Parameter(torch.ones(4, 1, 1))

    net = Custom()
    assert left_out(net, names(net)) == unexpectedly_left_out(net, PruningOptions()) == ("experts",)
    assert names(net, only=["*", "experts"]) == ["linear.weight", "experts"]
    assert unexpectedly_left_out(net, PruningOptions(skip="experts")) == ()
    assert unexpectedly_left_out(net, PruningOptions(only="linear")) == ()


def test_layers_of_no_size_and_of_integers_are_left_out() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of layers without weights
        empty = nn.Sequential(nn.Linear(3, 0), nn.Linear(0, 2), nn.Linear(2, 2))
    assert names(empty) == ["2.weight"]


def test_a_lazy_layer_is_named() -> None:
    with pytest.raises(ModelError, match=r"'1\.weight'"):
        names(nn.Sequential(nn.Linear(3, 3), nn.LazyLinear(2)))


def five() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(3, 4), nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 4)), nn.Linear(4, 2)
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"only": "0"}, ["0.weight"]),
        ({"only": "1"}, ["1.0.weight", "1.2.weight"]),
        ({"only": "1.*"}, ["1.0.weight", "1.2.weight"]),
        ({"only": ["0", "2.weight"]}, ["0.weight", "2.weight"]),
        ({"only": "0, 2"}, ["0.weight", "2.weight"]),
        ({"only": "2.bias"}, ["2.bias"]),
        ({"only": "*.bias", "prune_bias": True}, ["0.bias", "1.0.bias", "1.2.bias", "2.bias"]),
        ({"skip": "1"}, ["0.weight", "2.weight"]),
        ({"skip": "*.weight", "prune_bias": True}, ["0.bias", "1.0.bias", "1.2.bias", "2.bias"]),
        ({"skip": 2}, ["0.weight", "1.0.weight", "1.2.weight"]),
        ({"only": "1", "skip": "1.0"}, ["1.2.weight"]),
        ({"only": "1", "dense_classifier": True}, ["1.0.weight", "1.2.weight"]),
        ({"only": "[02].weight"}, ["0.weight", "2.weight"]),
    ],
    ids=str,
)
def test_names_modules_and_globs(options: dict[str, object], expected: list[str]) -> None:
    assert names(five(), **options) == expected
    assert names(nn.DataParallel(five()), **options) == [f"module.{name}" for name in expected]


@pytest.mark.parametrize("option", ["only", "skip"])
def test_names_that_match_nothing_are_errors(option: str) -> None:
    with pytest.raises(UnknownNameError, match=r"'1\.0\.weigth'; did you mean '1\.0\.weight'"):
        names(five(), **{option: "1.0.weigth"})
    with pytest.raises(UsageError, match=r"'encoder\.\*' matches no parameter"):
        names(five(), **{option: "encoder.*"})


def test_a_glob_of_what_is_not_prunable_names_the_way_out() -> None:
    with pytest.raises(UsageError, match=r"in full, such as '0\.bias'"):
        names(five(), only="*.bias")


def test_a_glob_or_module_of_other_matrices_takes_them() -> None:
    class Transposed(nn.Module):
        """A linear layer of a class of its own, as some libraries have it."""

        def __init__(self) -> None:
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(3))

        def forward(self, x: Tensor) -> Tensor:
            return torch.addmm(self.bias, x, self.weight)

    net = nn.Sequential(nn.Linear(4, 4), Transposed(), nn.LayerNorm(3), nn.Linear(3, 2))
    assert names(net) == ["0.weight", "3.weight"]
    for patterns in (["1", "3"], ["1.*", "3"]):
        assert sorted(names(net, only=patterns)) == ["1.weight", "3.weight"]
    assert names(net, only="*") == ["0.weight", "3.weight"], "where something is prunable, nothing else is"
    with pytest.raises(UsageError, match=r"no matrix and nothing that is prunable.*'2\.weight'"):
        names(net, only="2")


def test_names_without_the_prefixes_of_torch() -> None:
    assert bare_name("_orig_mod.module.layer.module.weight") == "layer.module.weight"
    assert bare_name("module") == "module"
    assert bare_name("a._orig_mod.weight") == "a.weight"


@settings(max_examples=30)
@given(st.data())
def test_tied_tensors_count_once_under_their_first_name_in_any_order(data: st.DataObject) -> None:
    groups = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=7))
    kinds = data.draw(
        st.lists(st.sampled_from(["linear", "table"]), min_size=len(groups), max_size=len(groups))
    )
    shared = [nn.Parameter(torch.rand(4, 4)) for _ in range(4)]
    net = nn.Sequential()
    for group, kind in zip(groups, kinds, strict=True):
        layer: nn.Module = nn.Linear(4, 4, bias=False) if kind == "linear" else nn.Embedding(4, 4)
        layer.weight = shared[group]
        net.append(layer)
    linear = {group for group, kind in zip(groups, kinds, strict=True) if kind == "linear"}
    expected = {f"{groups.index(group)}.weight" for group in linear}
    if not expected:
        with pytest.raises(ModelError):
            names(net)
        return
    assert set(names(net)) == expected
    assert set(left_out(net, names(net))) == {f"{groups.index(g)}.weight" for g in set(groups) - linear}


@settings(max_examples=30)
@given(
    st.lists(st.sampled_from(["0", "1", "1.0", "1.*", "2.weight", "*"]), max_size=3),
    st.lists(st.sampled_from(["0", "1.2", "2", "*.0.weight"]), max_size=2),
    st.integers(1, 40),
)
def test_exactly_k_of_the_chosen_weights_are_kept(only: list[str], skip: list[str], kept: int) -> None:
    net = five()
    try:
        chosen = prunable_parameters(net, PruningOptions.model_validate({"only": only, "skip": skip}))
    except ModelError:
        return
    size = sum(p.numel() for p in chosen.values())
    kept = min(kept, size)
    masks = sfb.prune(net, "magnitude", compression=size / kept, only=only, skip=skip)
    assert list(masks) == list(chosen)
    assert (masks.size, masks.kept) == (size, kept)
    assert set(masks) | set(masks.left_out) == {name for name, p in net.named_parameters() if p.dim() > 1}
