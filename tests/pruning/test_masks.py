"""Masks as a value: what they say of themselves, how they are compared, kept and applied."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from synflow_bench.errors import PluginError
from synflow_bench.pruning import Masks


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
    with pytest.raises(PluginError, match=r"mask 'w' is torch.float32; masks are torch.bool"):
        Masks({"w": torch.ones(3)})
    with pytest.raises(PluginError, match="masks of no parameter"):
        Masks({})


def test_equal_bits_are_equal_whatever_the_order_and_the_memory() -> None:
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
def test_the_hash_tells_names_shapes_and_bits_apart(other: dict[str, torch.Tensor]) -> None:
    assert some() != Masks(other)
    assert some().sha256 != Masks(other).sha256


def test_saved_masks_come_back(tmp_path: Path) -> None:
    masks = Masks({**some(), "t": torch.eye(3, dtype=torch.bool)[:2].T})
    masks.save(tmp_path / "masks.safetensors")
    assert Masks.load(tmp_path / "masks.safetensors") == masks


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
