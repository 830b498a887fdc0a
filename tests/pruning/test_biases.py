"""One rule for the biases and shifts of a network while any method scores it."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import synflow_bench as sfb


class Everything(nn.Module):
    """Biases and shifts of every kind, none of them zero."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.lstm = nn.LSTM(4, 4, batch_first=True)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.norm = nn.LayerNorm(4)
        self.classifier = nn.Linear(4, 3)
        with torch.no_grad():
            for parameter in self.parameters():
                if parameter.dim() == 1:
                    parameter.uniform_(0.1, 1)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.bn(self.conv(x)).flatten(2).transpose(1, 2)
        hidden = self.lstm(tokens)[0]
        logits: Tensor = self.classifier(self.norm(self.attention(hidden, hidden, hidden)[0]).mean(1))
        return logits


class SeesBiases(sfb.Pruner):
    """Notes the biases of the network that it is given."""

    needs_data: ClassVar[bool] = False
    seen: ClassVar[dict[str, bool]] = {}

    def score(self, problem: sfb.Problem) -> dict[str, Tensor]:
        self.seen.clear()
        vectors = {name: p for name, p in problem.model.named_parameters() if p.dim() == 1}
        self.seen.update({name: bool(p.any()) for name, p in vectors.items()})
        return {name: p.detach().abs() for name, p in problem.parameters.items()}


VECTORS = {"conv.bias", "bn.weight", "bn.bias", "lstm.bias_ih_l0", "lstm.bias_hh_l0", "norm.weight"}
VECTORS |= {"norm.bias", "attention.in_proj_bias", "attention.out_proj.bias", "classifier.bias"}


@pytest.mark.parametrize(
    ("options", "covered"),
    [({}, set()), ({"prune_batchnorm": True}, {"bn.bias"}), ({"only": ["norm.bias", "conv"]}, {"norm.bias"})],
    ids=str,
)
def test_without_biases_only_those_that_a_mask_covers_are_seen(
    options: dict[str, Any], covered: set[str]
) -> None:
    net = Everything()
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    prune = partial(sfb.prune, net, SeesBiases(), compression=2, input_shape=(1, 6, 6), options=options)
    prune()
    assert {name for name, is_seen in SeesBiases.seen.items() if is_seen} == VECTORS
    prune(biases="zero")
    seen = {name for name, is_seen in SeesBiases.seen.items() if is_seen}
    assert seen == {"bn.weight", "norm.weight"} | covered
    assert all(torch.equal(before[name], p) for name, p in net.named_parameters())
