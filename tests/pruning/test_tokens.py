"""Embeddings of tokens are told from those of positions and segments by the integers that they look up."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import synflow_bench as sfb
from synflow_bench.pruning.tokens import token_embeddings

IDS = torch.tensor([[3, 1, 4, 1, 5]])


class Embeddings(nn.Module):
    """Tokens, positions and segments; `places` gives the positions."""

    def __init__(self, places: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.tokens, self.positions, self.segments = (
            nn.Embedding(9, 4),
            nn.Embedding(9, 4),
            nn.Embedding(2, 4),
        )
        self.places = places

    def forward(self, ids: Tensor) -> Tensor:
        rows: Tensor = self.tokens(ids) + self.positions(self.places(ids))
        return rows + self.segments(torch.zeros_like(ids))


@pytest.mark.parametrize("ids", [IDS, torch.zeros_like(IDS), torch.full_like(IDS, 3)])
@pytest.mark.parametrize(
    "places",
    [
        lambda ids: torch.arange(ids.shape[1]),
        lambda ids: ids.ne(7).long().cumsum(1),  # those of tokens that do not fill up
    ],
)
def test_positions_are_no_tokens(places: Callable[[Tensor], Tensor], ids: Tensor) -> None:
    assert token_embeddings(Embeddings(places), ids) == {"tokens"}


def test_indices_that_are_computed_from_tokens_are_of_tokens() -> None:
    assert token_embeddings(Embeddings(lambda ids: ids.flip(1) // 2), IDS) == {"tokens", "positions"}


def test_of_several_inputs_each_is_looked_at() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.kinds, self.places = nn.Embedding(9, 4), nn.Embedding(3, 4), nn.Embedding(9, 4)

        def forward(self, inputs: dict[str, Tensor]) -> Tensor:
            ids, mask = inputs["ids"], inputs["mask"]
            rows = self.words(input=ids) + self.kinds(inputs["kinds"]) + self.places(torch.arange(5))
            return rows * mask[..., None]

    inputs = {"ids": IDS, "kinds": torch.tensor([[0, 0, 1, 1, 2]]), "mask": torch.ones_like(IDS)}
    assert token_embeddings(Both(), inputs) == {"words", "kinds"}
    inputs["kinds"] = torch.zeros_like(IDS)
    assert token_embeddings(Both(), inputs) == {"words"}, "one segment says nothing of the tokens"


def test_of_a_network_that_fails_on_other_tokens_all_are() -> None:
    class Picky(Embeddings):
        def forward(self, ids: Tensor) -> Tensor:
            if not torch.equal(ids, IDS):
                raise ValueError("unknown sentence")
            return super().forward(ids)

    net = Picky(lambda ids: torch.arange(ids.shape[1]))
    assert token_embeddings(net, IDS) == {"tokens", "positions", "segments"}


def test_a_bag_and_a_table_that_is_used_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bag, self.table = nn.EmbeddingBag(9, 4), nn.Embedding(9, 4)

        def forward(self, ids: Tensor) -> Tensor:
            rows: Tensor = self.bag(ids) + self.table(torch.arange(3)).sum(0) + self.table(ids).sum(1)
            return rows

    assert token_embeddings(Twice(), IDS) == {"bag", "table"}
    assert token_embeddings(nn.Sequential(nn.Linear(2, 2)), torch.ones(1, 2)) == frozenset()


class Encoder(nn.Module):
    """A transformer as most libraries have it: a norm behind the sum of embeddings, and a causal mask."""

    mask: Tensor

    def __init__(self, excluded: float) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.embeddings = Embeddings(lambda ids: torch.arange(ids.shape[1]))
            self.first, self.second = nn.LayerNorm(4), nn.LayerNorm(4)
            self.query, self.key, self.value, self.out, self.head = (nn.Linear(4, 4) for _ in range(5))
        self.register_buffer("mask", torch.full((5, 5), excluded).triu(1))

    def forward(self, ids: Tensor) -> Tensor:
        return self.after(self.embeddings(ids))

    def after(self, rows: Tensor) -> Tensor:
        x = self.first(rows)
        scores = self.query(x) @ self.key(x).mT / 2 + self.mask
        x = self.second(x + self.out(scores.softmax(-1) @ self.value(x)))
        logits: Tensor = self.head(x).mean(1)
        return logits


def reference(net: Encoder, pruner: str) -> dict[str, Tensor]:
    """|w dR/dw| by autograd in float64, with ones for the tokens alone, and the mask as it is."""
    net = Encoder(float(net.mask.min())).double()
    for parameter in net.parameters():
        parameter.data = parameter.data.abs() if pruner.startswith("synflow[") else parameter.data.square()
    table = net.embeddings
    rows = 1 + table.positions(torch.arange(5)) + table.segments(torch.zeros(1, 5, dtype=torch.int64))
    net.after(rows).sum().backward()
    layers = ("query", "key", "value", "out", "head")
    weights = {f"{name}.weight": getattr(net, name).weight for name in layers}
    return {name: (w * w.grad).abs().detach() for name, w in weights.items()}


@pytest.mark.filterwarnings("ignore:not pruned")
@pytest.mark.parametrize("excluded", [float("-inf"), -1e9, -100.0])
@pytest.mark.parametrize("pruner", ["synflow[rounds=1]", "synflow-l2[rounds=1]"])
def test_ones_behind_tokens_alone_flow_through_a_norm_and_a_mask_masks(pruner: str, excluded: float) -> None:
    net = Encoder(excluded)
    masks = sfb.prune(net, pruner, compression=4, example_inputs=IDS)
    scores = torch.cat([score.flatten() for score in reference(net, pruner).values()])
    kept = torch.cat([masks[name].flatten() for name in reference(net, pruner)])
    expected = torch.zeros_like(kept)
    expected[scores.topk(20).indices] = True
    assert torch.equal(kept, expected)


@pytest.mark.filterwarnings("ignore:not pruned")
@pytest.mark.parametrize("pruner", ["px[rounds=3]", "npb", "ntk-sap[rounds=2,repeats=1]", "phew", "snip"])
def test_a_mask_of_infinities_is_that_of_large_numbers(pruner: str) -> None:
    data = torch.arange(60).view(12, 5) % 9, torch.arange(12) % 4
    infinite, large = (
        sfb.prune(Encoder(excluded), pruner, compression=4, example_inputs=IDS, data=data)
        for excluded in (float("-inf"), -1e9)
    )
    assert infinite == large
