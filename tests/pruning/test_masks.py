"""Masks as values."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from synflow_bench.errors import PluginError, RecordError, UsageError
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


@pytest.mark.parametrize("content", [None, b"", b"junk", b"\x08" + bytes(7) + b"{not me}"], ids=str)
def test_a_file_without_masks_is_one_line_of_a_record_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "masks.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecordError, match=r"masks\.safetensors") as raised:
        Masks.load(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("tensors", [{}, {"a": torch.ones(2)}], ids=["none", "floats"])
def test_a_file_of_other_tensors_is_no_file_of_masks(
    tmp_path: Path, tensors: dict[str, torch.Tensor]
) -> None:
    save_file(tensors, tmp_path / "other.safetensors")
    with pytest.raises(RecordError, match="holds no masks"):
        Masks.load(tmp_path / "other.safetensors")
    with pytest.raises(RecordError, match="holds no masks"):
        Masks.load(tmp_path)


def test_what_is_left_out_is_saved_and_not_compared(tmp_path: Path) -> None:
    masks = Masks(dict(some()), left_out=["table"])
    masks.save(str(tmp_path / "masks"))
    assert Masks.load(str(tmp_path / "masks")).left_out == masks.to("cpu").left_out == ("table",)
    assert masks == some()
    assert some().left_out == ()


@pytest.mark.parametrize("mask", [[True], np.ones(2, bool), None])
def test_masks_are_tensors(mask: object) -> None:
    with pytest.raises(PluginError, match="'w'"):
        Masks({"w": mask})  # type: ignore[dict-item]


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "bare": lambda net: net,
    "parallel": nn.DataParallel,
    "compiled": lambda net: torch.compile(net, backend="eager"),
    "both": lambda net: nn.DataParallel(torch.compile(net, backend="eager")),
}


@pytest.mark.parametrize("pruned", WRAPPERS)
@pytest.mark.parametrize("applied", WRAPPERS)
def test_masks_fit_a_network_whichever_way_torch_wraps_it(pruned: str, applied: str) -> None:
    net = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    before = WRAPPERS[pruned](net)
    masks = Masks({name: torch.eye(*p.shape).bool() for name, p in before.named_parameters() if p.dim() > 1})
    masks.apply_(WRAPPERS[applied](net))
    assert [int(layer.weight.count_nonzero()) for layer in net] == [2, 2]


def test_a_network_with_a_part_called_module_is_no_wrapper() -> None:
    net = nn.ModuleDict({"module": nn.Linear(2, 2), "other": nn.Linear(2, 2)})
    Masks({"module.weight": torch.eye(2).bool(), "other.weight": torch.ones(2, 2).bool()}).apply_(net)
    assert [int(layer.weight.count_nonzero()) for layer in net.values()] == [2, 4]


def test_masks_of_a_tied_tensor_fit_under_any_of_its_names() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    Masks({"1.weight": torch.eye(2).bool()}).apply_(net)
    assert int(net[0].weight.count_nonzero()) == 2


def test_masks_of_another_network_are_one_line() -> None:
    masks = Masks({"0.weight": torch.eye(2).bool()})
    with pytest.raises(UsageError, match=r"'0\.weight'.* another network"):
        masks.apply_(nn.Linear(2, 2))
    with pytest.raises(UsageError, match=r"\(2, 2\), its parameter in Sequential \(3, 3\)"):
        masks.apply_(nn.Sequential(nn.Linear(3, 3)))


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda masks: pickle.loads(pickle.dumps(masks))],  # noqa: S301
)
def test_masks_can_be_copied_and_pickled(copied: Callable[[Masks], Masks]) -> None:
    masks = Masks(dict(some()), left_out=["table"])
    assert masks.kept == some().kept  # which is remembered
    other = copied(masks)
    assert other == masks
    assert (other.left_out, other.layer_kept) == (("table",), masks.layer_kept)


@pytest.mark.parametrize(
    ("other", "named"),
    [(None, "None"), ([torch.zeros(2, 2)], "'list'"), ({"0.weight": np.zeros((2, 2))}, "'ndarray'")],
)
def test_masks_of_what_is_no_network_are_one_line(other: Any, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        Masks({"0.weight": torch.eye(2).bool()}).apply_(other)


@pytest.mark.parametrize("norm", [weight_norm, lambda layer: quiet(torch.nn.utils.weight_norm, layer)])
def test_a_unit_with_weight_norm_may_lose_all_of_its_weights(norm: Callable[[nn.Module], nn.Module]) -> None:
    net = nn.Sequential(norm(nn.Linear(4, 3)))
    name = next(name for name, p in net.named_parameters() if p.shape == (3, 4))
    inputs = torch.randn(5, 4)
    expected = net(inputs).detach()
    mask = torch.ones(3, 4, dtype=torch.bool)
    mask[1] = False
    Masks({name: mask}).apply_(net)
    found = net(inputs)
    assert torch.allclose(found[:, [0, 2]], expected[:, [0, 2]])
    assert torch.equal(found[:, 1], net[0].bias[1].expand(5))
    found.sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in net.parameters() if p.grad is not None)


def quiet(function: Callable[[nn.Module], nn.Module], layer: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its older weight norm deprecated
        return function(layer)


def test_masks_of_another_network_are_called_so_whatever_names_are_near() -> None:
    masks = Masks({name: torch.ones(3, 3, dtype=torch.bool) for name in ("c.weight", "d.weight")})
    for model in (nn.Linear(3, 3), nn.ModuleDict({"h": nn.Linear(3, 3)})):
        for use in (masks.hold, masks.apply_):
            with pytest.raises(UsageError, match=r"'c\.weight'.* another network"):
                use(model)
    with pytest.raises(UsageError, match=r"did you mean 'c\.weight'"):
        Masks({"d.weight": masks["d.weight"], "c.weigth": masks["c.weight"]}).apply_(
            nn.ModuleDict({"c": nn.Linear(3, 3), "d": nn.Linear(3, 3)})
        )


def test_a_file_that_is_not_there_is_called_so(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="is not there"):
        Masks.load(tmp_path / "masks.safetensors")
