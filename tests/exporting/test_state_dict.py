"""Tensors of compact networks are loaded into small networks, with no more than the code of the network."""

from __future__ import annotations

import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

import synflow_bench as sfb
from synflow_bench.errors import HandledError, RecordError, UsageError
from synflow_bench.exporting import ExportError, load_compact, state_dict
from synflow_bench.protocols import weights_of

CASES = (
    *("tied", "unsaved buffer", "weight norm", "attention", "instance norm, slopes", "recurrent"),
    "grouped, BatchNorm1d",
)

pytestmark = pytest.mark.usefixtures("torch_as_it_was")


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_what_is_loaded_computes_the_masked_network(name: str, fold: bool, case: Any, tmp_path: Path) -> None:
    model, masks, inputs = case(name)
    path = tmp_path / "m.safetensors"
    found = sfb.export(model, masks, path, inputs, format="state-dict", fold=fold)
    assert found.is_exact
    other = deepcopy(model)
    for parameter in other.parameters():
        nn.init.ones_(parameter)
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    small = load_compact(path, other)
    masked = {n: p * masks[n] if n in masks else p for n, p in model.named_parameters()}
    with torch.no_grad():
        expected = torch.func.functional_call(model.eval(), masked, (inputs,))
        torch.testing.assert_close(small(inputs), expected, atol=1e-5, rtol=1e-5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.state_dict().items())
    sizes = [sum(p.numel() for p in each.parameters()) for each in (small, model)]
    if name == "instance norm, slopes":
        assert found.share < 0.9
    if found.share < 1:
        assert sizes[0] < sizes[1]
    if name == "tied":
        assert small.b.weight is small.a.weight


def test_what_is_loaded_can_be_trained_and_exported_again(case: Any, tmp_path: Path) -> None:
    model, masks, inputs = case("attention")
    sfb.export(model, masks, tmp_path / "first", inputs, format="state-dict")
    small = load_compact(tmp_path / "first", model)
    small(inputs).sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in small.parameters())
    every = {"head.weight": torch.ones(3, 8).bool()}
    again = sfb.export(small, every, tmp_path / "second", inputs, format="state-dict")
    assert again.is_exact
    assert (tmp_path / "second").read_bytes() == (tmp_path / "first").read_bytes()


def test_types_and_modes_are_those_of_the_network(case: Any, tmp_path: Path) -> None:
    model, masks, inputs = case("grouped, BatchNorm1d")
    sfb.export(model, masks, tmp_path / "m", inputs, format="state-dict")
    small = load_compact(tmp_path / "m", model.double().requires_grad_(False).train())
    assert {p.dtype for p in small.parameters()} == {torch.float64}
    assert not any(p.requires_grad for p in small.parameters())
    assert not small.training
    assert model.training
    assert (small.c.out_features, small.norm.num_features, small.d.in_features) == (4, 4, 4)


@pytest.mark.parametrize(
    ("layers", "fact"),
    [
        ([nn.Linear(6, 8), nn.ReLU()], "0.weight"),
        ([nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3), nn.Linear(3, 3)], "3.bias"),
        ([nn.Linear(6, 8), nn.ReLU(), nn.Linear(2, 3)], r"\(3, 3\)"),
        ([nn.Conv1d(6, 8, 1), nn.ReLU(), nn.Linear(8, 3)], r"\(8, 6, 1\)"),
    ],
    ids=["fewer layers", "more layers", "a smaller layer", "another kind"],
)
def test_tensors_that_do_not_fit_are_refused(layers: list[nn.Module], fact: str, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    masks = {"2.weight": (torch.arange(8) < 3).expand(3, 8)}
    sfb.export(model, masks, tmp_path / "m", torch.ones(2, 6), format="state-dict")
    names = ["2.weight", "2.bias"] if len(layers) == 2 else []
    with pytest.raises(UsageError, match=names[1] if names else fact) as raised:
        load_compact(tmp_path / "m", nn.Sequential(*layers))
    assert "\n" not in str(raised.value)


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    model = nn.Linear(6, 3)
    (tmp_path / "text").write_text("not tensors")
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    sfb.Masks({"weight": torch.ones(3, 6).bool()}).save(tmp_path / "masks")
    for name in ("text", "empty", "folder", "missing"):
        with pytest.raises(RecordError, match=name):
            load_compact(tmp_path / name, model)
    with pytest.raises(HandledError, match="masks"):
        load_compact(tmp_path / "masks", model)
    with pytest.raises(UsageError, match="str"):
        load_compact(tmp_path / "text", "fc")  # type: ignore[arg-type]


def hooked(layer: nn.Module, dim: int) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: nn.Module = nn.utils.weight_norm(layer, dim=dim)
    return found


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("dim", [0, -1])
@pytest.mark.parametrize("norm", [hooked, weight_norm])
def test_a_removed_unit_with_weight_norm_is_zero_in_any_network(
    norm: Any, dim: int, compact: bool, tmp_path: Path
) -> None:
    def build() -> nn.Module:
        return nn.Sequential(norm(nn.Linear(6, 8), dim=dim), nn.ReLU(), nn.Linear(8, 3))

    model, inputs = build(), torch.randn(4, 6)
    name = next(name for name, p in model.named_parameters() if p.shape == (8, 6))
    masks = {name: torch.ones(8, 6).bool()}
    masks[name][2 if dim == 0 else slice(None)] = False
    found = sfb.export(model, masks, tmp_path / "m", inputs, format="state-dict", compact=compact)
    assert found.is_exact
    assert found.largest_logit > 0
    sfb.Masks(masks).apply_(model)
    expected = model(inputs)
    assert expected.isfinite().all()
    plain = build()
    plain.load_state_dict(load_file(tmp_path / "m"))
    for loaded in (load_compact(tmp_path / "m", build()), plain):
        torch.testing.assert_close(loaded(inputs), expected, atol=1e-5, rtol=1e-5)
    plain.load_state_dict(weights_of(model))
    torch.testing.assert_close(plain(inputs), expected, atol=1e-5, rtol=1e-5)


def test_files_are_compared_in_the_network_that_loads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_dict, "loadable_state", lambda model: model.state_dict())
    model = nn.Sequential(weight_norm(nn.Linear(6, 8)), nn.ReLU(), nn.Linear(8, 3))
    name = "0.parametrizations.weight.original1"
    found = sfb.export(
        model, {name: torch.zeros(8, 6).bool()}, tmp_path / "m", torch.randn(4, 6), format="state-dict"
    )
    assert not found.is_exact


def test_a_state_that_is_no_tensor_is_named(tmp_path: Path) -> None:
    class Stateful(nn.Linear):
        def get_extra_state(self) -> dict[str, int]:
            return {"steps": 3}

    model, masks = nn.Sequential(Stateful(6, 3)), {"0.weight": torch.ones(3, 6).bool()}
    with pytest.raises(ExportError, match="_extra_state"):
        sfb.export(model, masks, tmp_path / "m", torch.ones(2, 6), format="state-dict")
    assert [*tmp_path.iterdir()] == []
