"""Networks are called with other tensors, and keep their own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from synflow_bench.compaction import compact
from synflow_bench.graph import call_with, trace, unwrapped


class Named(nn.Module):
    """One layer with two names, and one weight in two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.alias, self.last = self.a, nn.Linear(6, 3)
        self.c.weight = self.b.weight
        self.register_buffer("scale", torch.ones(6), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.c(self.b(self.alias(x).relu()).relu()) * self.scale
        logits: Tensor = self.last(x)
        return logits


def test_tensors_are_replaced_everywhere_and_put_back() -> None:
    model, x = Named(), torch.randn(5, 4)
    before = {name: id(tensor) for name, tensor in model.named_parameters(remove_duplicate=False)}
    other = {name: torch.randn_like(tensor) for name, tensor in model.named_parameters()}
    other["scale"] = torch.full((6,), 2.0)
    with torch.no_grad():
        found = call_with(model, other, x)
        assert {name: id(p) for name, p in model.named_parameters(remove_duplicate=False)} == before
        assert torch.equal(model.get_buffer("scale"), torch.ones(6))
        for name, parameter in model.named_parameters():
            parameter.copy_(other[name])
        model.get_buffer("scale").fill_(2)
        torch.testing.assert_close(found, model(x))


def test_tensors_are_put_back_after_an_error() -> None:
    model = Named()
    before = dict(model.named_parameters())
    with pytest.raises(RuntimeError):
        call_with(model, {"a.weight": torch.ones(6, 4)}, torch.ones(1, 3))
    assert all(parameter is before[name] for name, parameter in model.named_parameters())


def test_a_network_stays_itself_when_it_is_compacted() -> None:
    model = Named().eval()
    before = dict(model.named_parameters(remove_duplicate=False))
    masks = {"a.weight": (torch.arange(6) < 3)[:, None].expand(6, 4), "last.weight": torch.ones(3, 6).bool()}
    compact(model, masks, trace(model, torch.zeros(1, 4)), (4,), max_share=1.0)
    assert all(p is before[name] for name, p in model.named_parameters(remove_duplicate=False))


@pytest.mark.parametrize(
    ("wrap", "prefix"),
    [
        (lambda model: model, ""),
        (nn.DataParallel, "module."),
        pytest.param(torch.compile, "_orig_mod.", marks=pytest.mark.slow),
        pytest.param(
            lambda model: nn.DataParallel(torch.compile(model)), "module._orig_mod.", marks=pytest.mark.slow
        ),
    ],
)
def test_the_prefix_is_that_of_the_names(wrap: Callable[[nn.Module], nn.Module], prefix: str) -> None:
    model = nn.Linear(2, 1)
    wrapped = wrap(model)
    assert unwrapped(wrapped) == (model, prefix)
    assert [name for name, _ in wrapped.named_parameters()] == [f"{prefix}weight", f"{prefix}bias"]
