"""Networks of many kinds with masks under which some of their units are dead."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

Case = tuple[nn.Module, dict[str, Tensor], Tensor]
"""A network, masks and inputs."""


def dead_inputs(weight: Tensor, alive: int) -> Tensor:
    """Return a mask that keeps the weights of the first inputs only."""
    mask = torch.zeros_like(weight, dtype=torch.bool)
    mask[:, :alive] = True
    return mask


class Tied(nn.Module):
    """Two layers with one weight, between two others."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.a, self.b, self.last = (
            nn.Linear(*size) for size in ((6, 8), (8, 8), (8, 8), (8, 3))
        )
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(self.b(self.a(self.first(x).relu()).relu()).relu())
        return logits


class Scaled(nn.Module):
    """A buffer that is not saved, along the units of a hidden layer."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)
        self.register_buffer("scale", torch.linspace(1, 2, 8), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.b(self.a(x).relu() * self.scale)
        return logits


class Attentive(nn.Module):
    """Tokens, attention, a feed-forward block with a residual sum, and layer norm."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.head(self.block(self.embedding(tokens)).mean(1))
        return logits


class Recurrent(nn.Module):
    """An LSTM and a hidden layer."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 6, batch_first=True)
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.lstm(x)
        logits: Tensor = self.b(self.a(states[:, -1]).relu())
        return logits


class Grouped(nn.Module):
    """A depthwise convolution and BatchNorm1d after a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8)
        self.c, self.norm, self.d = nn.Linear(8, 10), nn.BatchNorm1d(10), nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.c(self.b(self.a(x).relu()).mean((2, 3)))
        logits: Tensor = self.d(self.norm(x).relu())
        return logits


def of(model: nn.Module, inputs: Tensor, **alive: int) -> Case:
    """Return a case in which all but the first inputs of the named layers are removed."""
    weights = dict(model.named_parameters())
    names = {name: f"{name.replace('__', '.')}.weight" for name in alive}
    return (
        model,
        {names[name]: dead_inputs(weights[names[name]], each) for name, each in alive.items()},
        inputs,
    )


def normed() -> Case:
    model = nn.Sequential(weight_norm(nn.Linear(6, 8)), nn.ReLU(), nn.Linear(8, 3))
    return of(model, torch.randn(4, 6), **{"2": 3})


def sloped() -> Case:
    first = nn.Conv2d(3, 8, 3), nn.InstanceNorm2d(8, affine=True, track_running_stats=True), nn.PReLU(8)
    model = nn.Sequential(*first, nn.Conv2d(8, 4, 3), nn.PReLU(), nn.Flatten(), nn.Linear(64, 3))
    return of(model, torch.randn(4, 3, 8, 8), **{"3": 3})


CASES: dict[str, Callable[[], Case]] = {
    "tied": lambda: of(Tied(), torch.randn(4, 6), last=3),
    "unsaved buffer": lambda: of(Scaled(), torch.randn(4, 6), b=3),
    "weight norm": normed,
    "attention": lambda: of(Attentive(), torch.randint(11, (4, 5)), block__linear2=5),
    "instance norm, slopes": sloped,
    "recurrent": lambda: of(Recurrent(), torch.randn(4, 5, 4), b=3),
    "grouped, BatchNorm1d": lambda: of(Grouped(), torch.randn(4, 3, 8, 8), d=4),
}
"""Name -> a function that makes the case."""


@pytest.fixture
def case() -> Callable[[str], Case]:
    """A function that makes a case with random weights and statistics, always the same."""
    return make_case


def make_case(name: str) -> Case:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, masks, inputs = CASES[name]()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d):
                nn.init.uniform_(module.running_mean, -0.5, 0.5)  # type: ignore[arg-type]
                nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
    return model, masks, inputs
