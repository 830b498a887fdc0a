"""Methods with second derivatives work on attention, recurrent layers and hard sigmoids."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import synflow_bench as sfb
from synflow_bench.errors import ScoreError
from synflow_bench.pruning import Problem

SHAPE = (5, 8)


class Tokens(nn.Module):
    def __init__(self, mixer: nn.Module) -> None:
        super().__init__()
        self.embed, self.mixer = nn.Linear(8, 16), mixer
        self.head = nn.LazyLinear(3)
        self.head(self.mixed(torch.zeros(1, *SHAPE)))

    def mixed(self, x: Tensor) -> Tensor:
        out = self.mixer(self.embed(x))
        return (out[0] if isinstance(out, tuple) else out).mean(1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.mixed(x))
        return logits


class Attention(nn.Module):
    """Multi-head attention as a module, or a fused function, of a part of its input."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused, self.qkv = fused, nn.Linear(16, 48)
        self.heads = nn.Identity() if fused else nn.MultiheadAttention(16, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        if self.fused:
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)
        mixed: Tensor = self.heads(q, k, v, need_weights=False)[0]
        return mixed


class Bag(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.EmbeddingBag(30, 16), nn.Linear(16, 3)

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.head(self.embed(ids))
        return logits


def encoder(**options: object) -> nn.Module:
    return nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, **options)  # type: ignore[arg-type]


MIXERS: dict[str, Callable[[], nn.Module]] = {
    "encoder": encoder,
    "encoder, norm first": lambda: encoder(norm_first=True, activation="gelu"),
    "stack": lambda: nn.TransformerEncoder(encoder(), 2),
    "fused": lambda: Attention(fused=True),
    "module": lambda: Attention(fused=False),
    "lstm": lambda: nn.LSTM(16, 6, batch_first=True),
    "gru": lambda: nn.GRU(16, 6, batch_first=True, bidirectional=True, num_layers=2),
    "rnn": lambda: nn.RNN(16, 6, batch_first=True),
    "hard sigmoid": lambda: nn.Sequential(
        nn.Linear(16, 16), nn.Hardsigmoid(), nn.Linear(16, 16), nn.Hardswish()
    ),
}
METHODS = ["grasp", "grasp-abs", "prospr[second_order=true]"]


def prune(net: nn.Module, name: str, inputs: Tensor) -> sfb.Masks:
    data = inputs, torch.arange(len(inputs)) % 3
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "not pruned|.*nested tensor|.*zero-initialized")
        return sfb.prune(net, name, compression=4, data=data)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", MIXERS)
def test_second_derivatives_go_through(kind: str, name: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Tokens(MIXERS[kind]())
    inputs = torch.randn(6, *SHAPE, generator=torch.Generator().manual_seed(0))
    masks = prune(net, name, inputs)
    assert masks.kept == round(masks.size / 4)


@pytest.mark.parametrize("name", METHODS)
def test_second_derivatives_go_through_sums_of_embeddings(name: str) -> None:
    ids = torch.randint(30, (6, 5), generator=torch.Generator().manual_seed(0))
    assert prune(Bag(), name, ids).kept == 12


def test_scores_are_those_of_attention_written_out() -> None:
    class Written(nn.Module):
        def __init__(self, inner: Attention) -> None:
            super().__init__()
            self.qkv = inner.qkv

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.qkv(x).chunk(3, -1)
            hidden = torch.triu(torch.full((5, 5), float("-inf"), dtype=x.dtype), 1)
            return torch.softmax(q @ k.transpose(1, 2) / 4 + hidden, -1) @ v

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Tokens(Attention(fused=True)).double()
    inputs = torch.randn(6, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = {name: prune(net, name, inputs) for name in METHODS}
    net.mixer = Written(net.mixer)
    assert found == {name: prune(net, name, inputs) for name in METHODS}


def test_the_switches_of_attention_are_restored() -> None:
    def switches() -> tuple[bool, ...]:
        cuda = torch.backends.cuda
        enabled = (cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.math_sdp_enabled())
        return *enabled, torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled

    before = switches()
    net = Tokens(nn.LSTM(16, 6, batch_first=True))
    prune(net, "grasp", torch.randn(6, *SHAPE))
    assert switches() == before


def test_autocast_around_the_call_changes_nothing() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Tokens(encoder())
    inputs = torch.randn(6, *SHAPE, generator=torch.Generator().manual_seed(0))
    expected = prune(net, "snip", inputs)
    with torch.autocast("cpu", torch.bfloat16):
        assert prune(net, "snip", inputs) == expected


class OnceAlone(torch.autograd.Function):
    """The identity, which cannot be differentiated twice; its error is in the words of torchvision's."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> Tensor:
        return Refused.apply(gradients[0])  # type: ignore[no-any-return,no-untyped-call]


class Refused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> Tensor:
        raise RuntimeError("double backwards on deform_conv2d not supported")


class Once(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return OnceAlone.apply(x)  # type: ignore[no-any-return,no-untyped-call]


@pytest.mark.parametrize("pruner", ["grasp", "prospr", "hts"])
def test_a_layer_that_cannot_be_differentiated_twice_is_named_with_a_way_out(pruner: str) -> None:
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), Once(), nn.Linear(16, 3))
    data = (torch.randn(12, 8), torch.arange(12) % 3)
    with pytest.raises(ScoreError, match=r"deform_conv2d not supported: .* such as snip$"):
        sfb.prune(model, pruner, compression=4, data=data)
    assert sfb.prune(model, "snip", compression=4, data=data).kept == 44


class Cosine(nn.Module):
    """Attention by cosines, of tokens some of which are padding; written out where `plain`."""

    def __init__(self, plain: bool) -> None:
        super().__init__()
        self.plain, self.qkv, self.head = plain, nn.Linear(8, 24, bias=False), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(F.pad(x, (0, 0, 0, 2))).chunk(3, -1)
        cosines = self.normal(q) @ self.normal(k).mT
        logits: Tensor = self.head((cosines.softmax(-1) @ v).mean(1))
        return logits

    def normal(self, x: Tensor) -> Tensor:
        if not self.plain:
            return F.normalize(x, dim=-1)
        length = torch.where(x.any(-1, keepdim=True), x.square().sum(-1, keepdim=True), 1).sqrt()
        return x / torch.where(x.any(-1, keepdim=True), length, 1e-12)


@pytest.mark.parametrize("name", [*METHODS, "snip"])
def test_normalization_of_zeros_has_second_derivatives(name: str) -> None:
    found = []
    for plain in (False, True):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            net = Cosine(plain).double()
        inputs = torch.randn(6, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        found.append(prune(net, name, inputs))
    assert found[0] == found[1]
    assert min(found[0].layer_kept.values()) > 0


def test_warnings_of_scores_that_are_computed_again_are_taken_back() -> None:
    class Trying(sfb.Pruner):
        tries = 0

        def score(self, problem: Problem) -> dict[str, Tensor]:
            type(self).tries += 1
            problem.warn(f"try {self.tries} in {problem.dtype}")
            bad = float("nan") if self.tries < 3 else 1.0
            return {name: bad * weight.detach().abs() for name, weight in problem.parameters.items()}

    with pytest.warns(UserWarning, match="try") as caught:
        sfb.prune(nn.Linear(8, 4), Trying, compression=2, data=(torch.randn(9, 8), torch.arange(9) % 4))
    assert [str(warning.message) for warning in caught] == ["try 3 in torch.float32"]
