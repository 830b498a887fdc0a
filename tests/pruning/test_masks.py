"""Masks as values, and the parameters that they may cover."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from synflow_bench.errors import ModelError, PluginError
from synflow_bench.pruning import Masks, ResidualScale, prunable_parameters
from synflow_bench.suites import PruningOptions


def some() -> Masks:
    return Masks({"a": torch.tensor([[True, False], [True, True]]), "b": torch.tensor([False, False, True])})


def test_counts_and_densities() -> None:
    masks = some()
    assert (masks.size, masks.kept, masks.layer_kept) == (7, 4, {"a": 3, "b": 1})
    assert masks.density == 4 / 7
    assert masks.compression == 7 / 4
    assert masks.layer_density == {"a": 3 / 4, "b": 1 / 3}
    assert repr(masks) == "Masks(4 of 7 kept in 2 layers, compression 1.75)"


def test_masks_of_nothing_kept_have_infinite_compression() -> None:
    assert Masks({"a": torch.zeros(3, dtype=torch.bool)}).compression == float("inf")


def test_a_mapping_that_cannot_be_changed() -> None:
    masks = some()
    assert list(masks) == ["a", "b"]
    with pytest.raises(TypeError):
        masks["a"] = torch.ones(1, dtype=torch.bool)  # type: ignore[index]


def test_only_bool_tensors_make_masks() -> None:
    with pytest.raises(PluginError, match=r"'w' is torch.float32"):
        Masks({"w": torch.ones(3)})
    with pytest.raises(PluginError, match="masks of no parameter"):
        Masks({})


def test_masks_with_equal_bits_are_equal_in_any_order() -> None:
    masks, twin = some(), Masks(dict(reversed([(n, m.clone()) for n, m in some().items()])))
    assert masks == twin
    assert hash(masks) == hash(twin)
    assert masks.sha256 == twin.sha256


@pytest.mark.parametrize(
    "other",
    [
        {"a": torch.tensor([[True, False], [True, True]])},
        {"a": torch.tensor([[True, True], [True, True]]), "b": torch.tensor([False, False, True])},
        {"a": torch.tensor([True, False, True, True]), "b": torch.tensor([False, False, True])},
        {"c": torch.tensor([[True, False], [True, True]]), "b": torch.tensor([False, False, True])},
    ],
    ids=["fewer layers", "another bit", "another shape", "another name"],
)
def test_the_hash_depends_on_names_shapes_and_bits(other: dict[str, torch.Tensor]) -> None:
    assert some() != Masks(other)
    assert some().sha256 != Masks(other).sha256


def test_saved_masks_come_back(tmp_path: Path) -> None:
    masks = Masks({**some(), "t": torch.eye(3, dtype=torch.bool)[:2].T})
    masks.save(tmp_path / "masks.safetensors")
    assert Masks.load(tmp_path / "masks.safetensors") == masks
    (tmp_path / "ordinary").touch()
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1, "the file is readable for those who may read new files"


def test_applying_zeroes_what_is_not_kept_and_nothing_else() -> None:
    net = nn.Linear(3, 2)
    before = net.weight.detach().clone()
    masks = Masks({"weight": torch.tensor([[True, False, True], [False, False, True]])})
    masks.apply_(net)
    assert torch.equal(net.weight.detach(), before * masks["weight"])
    assert net.weight.requires_grad
    assert net.bias.detach().count_nonzero() == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"b": None}, "no mask for parameter 'b'"),
        ({"c": torch.ones(1, dtype=torch.bool)}, "a mask for unknown parameter 'c'"),
        ({"b": torch.ones(2, dtype=torch.bool)}, r"mask 'b' has shape \(2,\), its parameter \(3,\)"),
    ],
)
def test_masks_that_do_not_fit_name_the_parameter(
    changes: dict[str, torch.Tensor | None], message: str
) -> None:
    masks = Masks({n: mask for n, mask in {**some(), **changes}.items() if mask is not None})
    with pytest.raises(PluginError, match=message):
        masks.check({"a": torch.zeros(2, 2), "b": torch.zeros(3)})


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


def test_batch_norm_alone_can_be_pruned() -> None:
    assert names(nn.Sequential(nn.ReLU(), nn.BatchNorm1d(3)), prune_batchnorm=True) == ["1.weight", "1.bias"]
