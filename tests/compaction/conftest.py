"""Small networks of every kind that can be compacted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest
import torch
from torch import Tensor, nn

from synflow_bench.compaction import CompactNetwork, compact
from synflow_bench.graph import trace

SHAPE = (2, 8, 8)


class Residual(nn.Module):
    """A stem, a block with a sum, and a shortcut of another shape."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn0 = nn.Conv2d(2, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.inner, self.bn1 = nn.Conv2d(8, 10, 3, padding=1, bias=False), nn.BatchNorm2d(10)
        self.outer, self.bn2 = nn.Conv2d(10, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.wide, self.short = nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.Conv2d(8, 12, 1, stride=2)
        self.classifier = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn0(self.stem(x)).relu()
        x = (x + self.bn2(self.outer(self.bn1(self.inner(x)).relu()))).relu()
        x = (self.wide(x) + self.short(x)).relu()
        logits: Tensor = self.classifier(x.mean((2, 3)))
        return logits


class Concatenated(nn.Module):
    """Two branches side by side, and the input beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(2, 7, 1)
        self.bn, self.c = nn.BatchNorm2d(13), nn.Conv2d(15, 9, 3, padding=1)
        self.classifier = nn.Linear(9 * 16, 5)

    def forward(self, x: Tensor) -> Tensor:
        both = self.bn(torch.cat([self.a(x), self.b(x)], 1)).relu()
        x = self.c(torch.cat([both, x], 1)).relu()
        logits: Tensor = self.classifier(nn.functional.max_pool2d(x, 2).flatten(1))
        return logits


class Depthwise(nn.Module):
    """A block that widens, treats each channel by itself, twice, and narrows, beside the stem's output."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3, padding=1)
        self.widen, self.bn1 = nn.Conv2d(6, 18, 1, bias=False), nn.BatchNorm2d(18)
        self.each, self.bn2 = nn.Conv2d(18, 18, 3, stride=2, padding=1, groups=18), nn.BatchNorm2d(18)
        self.back, self.narrow = nn.ConvTranspose2d(18, 18, 2, stride=2, groups=18), nn.Conv2d(18, 6, 1)
        self.classifier = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        inner = self.back(self.bn2(self.each(self.bn1(self.widen(x)).relu())).relu())
        logits: Tensor = self.classifier((x + self.narrow(inner)).mean((2, 3)))
        return logits


class Tokens(nn.Module):
    """Quarters of the input as tokens behind a learned one, which is classified after a wide block."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.first_token = nn.Linear(32, 10), nn.Parameter(torch.zeros(1, 1, 10))
        self.places, self.norm = nn.Parameter(torch.zeros(1, 5, 10)), nn.LayerNorm(10)
        self.up, self.down, self.classifier = nn.Linear(10, 24), nn.Linear(24, 10), nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x.reshape(len(x), 4, 32))
        x = torch.cat([self.first_token.expand(len(x), -1, -1), x], 1) + self.places
        x = x + self.down(self.up(self.norm(x)).relu())
        logits: Tensor = self.classifier(x.mean(1))
        return logits


class Tied(nn.Module):
    """One weight for two layers, under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.a = nn.Linear(128, 12), nn.Linear(12, 12)
        self.b, self.last = nn.Linear(12, 12), nn.Linear(12, 5)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.flatten(1)).relu()
        logits: Tensor = self.last(self.b(self.a(x).relu()).relu())
        return logits


class Centered(nn.Module):
    """A layer with a buffer that is not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.center: Tensor
        self.first, self.last = nn.Linear(128, 20), nn.Linear(20, 5)
        self.register_buffer("center", torch.randn(20), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last((self.first(x.flatten(1)) + self.center).relu())
        return logits


def mlp() -> nn.Module:
    layers = nn.Linear(128, 20), nn.ReLU(), nn.Linear(20, 16), nn.Tanh(), nn.Linear(16, 5)
    return nn.Sequential(nn.Flatten(), *layers)


def vgg() -> nn.Module:
    first = nn.Conv2d(2, 10, 3, padding=1), nn.BatchNorm2d(10), nn.ReLU(), nn.MaxPool2d(2)
    second = nn.Conv2d(10, 14, 3, padding=1), nn.BatchNorm2d(14), nn.ReLU(), nn.AvgPool2d(2)
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(14 * 4, 5))


def transposed() -> nn.Module:
    first = nn.Conv2d(2, 10, 3, stride=2, padding=1), nn.ReLU()
    second = nn.ConvTranspose2d(10, 6, 2, stride=2), nn.BatchNorm2d(6), nn.ReLU()
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(6 * 64, 5))


def with_slopes() -> nn.Module:
    first = nn.Conv2d(2, 10, 3, padding=1), nn.InstanceNorm2d(10, affine=True), nn.PReLU(10)
    norm = nn.InstanceNorm2d(14, affine=True, track_running_stats=True)
    second = nn.Conv2d(10, 14, 3, padding=1), norm, nn.PReLU(), nn.AvgPool2d(4)
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(14 * 4, 5))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mlp": mlp,
    "vgg": vgg,
    "transposed": transposed,
    "residual": Residual,
    "concatenated": Concatenated,
    "depthwise": Depthwise,
    "tokens": Tokens,
    "tied": Tied,
    "centered": Centered,
    "instance norm, slopes": with_slopes,
}


def randomized(model: nn.Module) -> nn.Module:
    """`model` with no two entries alike, in buffers too, so that values identify entries."""
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_floating_point():
            spread = 0.5 if tensor.dim() > 1 or "bias" in name else 0.2
            tensor.data = (
                torch.rand_like(tensor) + 0.5 if "var" in name else spread * torch.randn_like(tensor)
            )
    return model


@pytest.fixture(params=NETWORKS)
def whole(request: pytest.FixtureRequest) -> nn.Module:
    """A network of each kind, in float64, seeded, with random parameters and buffers."""
    torch.manual_seed(5)
    return randomized(NETWORKS[request.param]()).double()


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        yield


Make = Callable[..., CompactNetwork]


@pytest.fixture
def compacted() -> Make:
    """`compacted(model, masks, shape)`, which must make it smaller."""

    def _compacted(
        model: nn.Module, masks: Mapping[str, Tensor], shape: tuple[int, ...] = SHAPE
    ) -> CompactNetwork:
        kind = next(model.parameters()).dtype
        found = compact(model, masks, trace(model, torch.zeros(1, *shape, dtype=kind)), shape)
        assert found is not None
        return found

    return _compacted
