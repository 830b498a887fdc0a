"""Weights that act through choices and through constants, against a change of each weight."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from synflow_bench.graph import Graph, Untraceable, effective_masks, trace


class Chooses(nn.Module):
    """Layer `b` chooses what the features of layer `a` are multiplied with, before layer `c`."""

    e: Tensor

    def __init__(self, choose: Callable[[Chooses, Tensor], Tensor]) -> None:
        super().__init__()
        self.choose = choose
        self.a, self.b, self.c = nn.Linear(4, 5), nn.Linear(4, 5), nn.Linear(5, 2)
        self.register_buffer("e", torch.randn(5, 5))
        self.table = nn.Embedding(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.c(F.softplus(self.a(x)) * self.choose(self, x))
        return out


class Token(nn.Module):
    """A learned token, joined to the others, is the query of attention, and the gate of what it finds."""

    def __init__(self) -> None:
        super().__init__()
        self.p, self.q, self.k, self.v, self.c = (nn.Linear(5, 5) for _ in range(5))
        self.g = nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 5))
        self.token = nn.Parameter(torch.randn(1, 1, 5))
        self.norm = nn.LayerNorm(5)

    def forward(self, x: Tensor) -> Tensor:
        u = self.norm(torch.cat([self.token.expand(len(x), -1, -1), self.p(x)], 1))
        shares = (self.q(u[:, :1]) @ self.k(u).transpose(1, 2)).softmax(-1)
        out: Tensor = self.c((shares @ self.v(u))[:, 0] * self.g(u[:, 0]))
        return out


class Canvas(nn.Module):
    """A learned image, joined below the input, is convolved and multiplied with the input."""

    def __init__(self) -> None:
        super().__init__()
        self.learned = nn.Parameter(torch.randn(1, 2, 3, 3))
        self.a, self.b = (nn.Conv2d(2, 3, 3, padding=1, bias=False) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        both = torch.cat([self.learned.expand(len(x), -1, -1, -1), x], 2)
        return (self.a(both[:, :, :3]) * self.b(both[:, :, 3:])).mean((2, 3))


def check_acting(model: nn.Module, examples: Tensor, *, exact: bool) -> None:
    """Compare the weights that count, of a dense and of a sparse network, with those that change outputs."""
    model.double().eval()
    graph = trace(model, examples[:1])
    assert isinstance(graph, Graph), graph
    for density in (1, 0.5, 0.3):
        net = deepcopy(model)
        weights = {name: p.data for name, p in net.named_parameters() if p.dim() > 1 and p.shape[0] > 1}
        weights.pop("table.weight", None)
        masks = {name: torch.rand(p.shape) < density for name, p in weights.items()}
        for name, p in weights.items():
            p.mul_(masks[name])
        counted = effective_masks(graph, masks)
        found = {name: torch.zeros_like(mask) for name, mask in masks.items()}
        with torch.no_grad():
            before = net(examples)
            for name, mask in masks.items():
                entries = weights[name].view(-1)
                for entry in mask.flatten().nonzero().flatten().tolist():
                    value = entries[entry].item()
                    for other in (-value, 3 * value + 20, 3 * value - 20):
                        entries[entry] = other
                        found[name].view(-1)[entry] |= not torch.equal(net(examples), before)
                    entries[entry] = value
        for name in masks:
            assert not bool((found[name] & ~counted[name]).any()), (density, name)
            if exact or density == 1:
                assert torch.equal(found[name], counted[name]), (density, name)


CHOICES: dict[str, Callable[[Chooses, Tensor], Tensor]] = {
    "max": lambda net, x: net.e[net.b(x).max(-1)[1]],
    "min": lambda net, x: net.e[net.b(x).min(-1).indices],
    "median": lambda net, x: net.e[net.b(x).median(-1).indices],
    "mode": lambda net, x: net.e[net.b(x).mode(-1).indices],
    "kthvalue": lambda net, x: net.e[net.b(x).kthvalue(2).indices],
    "sort": lambda net, x: net.e[net.b(x).sort(-1).indices[:, 0]],
    "topk": lambda net, x: net.e[net.b(x).topk(2).indices].sum(1),
    "cummax": lambda net, x: net.e[net.b(x).cummax(-1).indices[:, 2]],
    "argmax": lambda net, x: net.table(net.b(x).argmax(-1)),
    "index_select": lambda net, x: net.e.index_select(0, net.b(x).argmax(-1)),
    "gather": lambda net, x: net.e.expand(len(x), -1, -1)[:, 0].gather(1, net.b(x).argsort(-1)),
    "values": lambda net, x: net.b(x).sort(-1).values * net.b(x).aminmax(dim=-1, keepdim=True).max,
    "sums": lambda net, x: net.b(x).cumsum(-1),
}


@pytest.mark.parametrize("kind", CHOICES)
def test_weights_act_through_what_they_choose(kind: str) -> None:
    torch.manual_seed(0)
    check_acting(Chooses(CHOICES[kind]), torch.randn(60, 4).double(), exact=kind not in {"values", "sums"})


def test_weights_act_through_what_is_chosen_of_the_features() -> None:
    torch.manual_seed(0)
    rows = Chooses(lambda net, x: net.a(x)[torch.arange(len(x)), net.b(x).argmax(-1)][:, None])
    check_acting(rows, torch.randn(60, 4).double(), exact=False)
    along = Chooses(lambda net, x: torch.take_along_dim(net.a(x), net.b(x).topk(1).indices, 1))
    check_acting(along, torch.randn(60, 4).double(), exact=False)


def test_a_choice_that_changes_shapes_cannot_be_followed() -> None:
    found = trace(Chooses(lambda net, x: net.e[net.b(x)[0] > 0].sum(0)), torch.ones(1, 4))
    assert isinstance(found, Untraceable)
    assert "by a mask that is computed from the input" in found.reason


def test_weights_that_make_a_query_or_a_gate_of_a_learned_token_act() -> None:
    torch.manual_seed(0)
    check_acting(Token(), torch.randn(20, 3, 5).double(), exact=False)


def test_weights_of_a_learned_image_that_is_multiplied_act() -> None:
    torch.manual_seed(0)
    check_acting(Canvas(), torch.randn(20, 2, 3, 3).double(), exact=False)


def test_a_learned_token_alone_is_no_path() -> None:
    torch.manual_seed(0)
    model = Token()
    graph = trace(model, torch.randn(1, 3, 5))
    assert isinstance(graph, Graph), graph
    left = effective_masks(graph, {"p.weight": torch.zeros(5, 5).bool(), "q.weight": torch.ones(5, 5).bool()})
    assert not left["q.weight"].any()


class Padded(nn.Module):
    """Adds up features of tokens, and leaves out those that a mask hides, if it hides any."""

    def __init__(self, *, late: bool) -> None:
        super().__init__()
        self.late, self.table, self.head = late, nn.Embedding(7, 4), nn.Linear(4, 2)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        x, mask = self.table(inputs["ids"]), inputs["mask"]
        if not mask.all():
            x = x * mask[..., None]
        if self.late and (x > 9).any():
            x = -x
        out: Tensor = self.head(x.sum(1))
        return out


@pytest.mark.parametrize("hidden", [0, 2])
def test_a_check_of_the_mask_of_the_input_is_as_for_the_example(hidden: int) -> None:
    mask = torch.ones(1, 5, dtype=torch.int64)
    mask[0, 5 - hidden :] = 0
    example = {"ids": torch.zeros(1, 5, dtype=torch.int64), "mask": mask}
    graph = trace(Padded(late=False), example)
    assert isinstance(graph, Graph), graph
    masks = {"table.weight": torch.rand(7, 4) < 0.5, "head.weight": torch.ones(2, 4).bool()}
    masks["head.weight"][:, 0] = False
    left = effective_masks(graph, masks)
    assert not left["table.weight"][:, 0].any()
    assert torch.equal(left["table.weight"][:, 1:], masks["table.weight"][:, 1:])
    found = trace(Padded(late=True), example)
    assert isinstance(found, Untraceable)
    assert "_local_scalar_dense" in found.reason
