"""Replayed rounds keep the same weights as rounds of the network itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, relu

from synflow_bench import Problem
from synflow_bench.pruning import run_pruner
from synflow_bench.suites import PruningOptions
from synflow_bench_models.resnet import lottery_resnet20 as resnet20
from synflow_bench_models.small import conv, fc
from synflow_bench_pruners import synflow_rounds
from synflow_bench_pruners.replayed_flow import ReplayedFlow
from synflow_bench_pruners.synflow import SynFlow, SynFlowL2

Pose = Callable[..., Problem]
SHAPE = (3, 12, 10)
DENSITY = 0.05


@pytest.fixture(autouse=True)
def replayed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Try to replay however few rounds there are; the numbers of rounds that were replayed."""
    numbers: list[int] = []
    original = ReplayedFlow.keep

    def noted(*arguments: Any) -> Any:
        masks, done = original(*arguments)
        numbers.append(done)
        return masks, done

    monkeypatch.setattr(synflow_rounds, "REPLAYED", 1)
    monkeypatch.setattr(ReplayedFlow, "keep", noted)
    return numbers


class Network(nn.Module):
    """Convolutions of the given kinds in a row with a classifier behind the mean of all pixels.

    Args:
        *layers: Modules between the stem of 8 channels and the mean.
        channels: The channels that leave the last of them.
    """

    def __init__(self, *layers: nn.Module, channels: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.layers = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.layers(self.stem(inputs)).mean((2, 3)))
        return logits


class Branches(nn.Module):
    """Two branches whose borders differ, and an addition in place."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.norm = nn.Conv2d(8, 8, 5, padding=2, bias=False), nn.BatchNorm2d(8)
        self.flat = nn.Conv2d(8, 8, (1, 3), padding=(0, 1), bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = self.norm(self.wide(inputs))
        outputs += self.flat(relu(inputs))
        return torch.relu_(outputs)


class Pooled(nn.Module):
    """A stage with a stride and a pool of the size of the image, as in much code for CIFAR."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8, affine=False)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.norm(self.conv(inputs)).relu()
        pooled: Tensor = avg_pool2d(outputs, outputs.shape[2:])
        return pooled


class Twice(nn.Module):
    """A convolution whose outputs are used before and behind the batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = self.conv(inputs)
        before = relu(outputs)
        total: Tensor = before + self.norm(outputs)
        return total


def tied() -> nn.Module:
    one, other = (nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))
    other.weight = one.weight
    return Network(one, other)


def hooked() -> nn.Module:
    model = Network(nn.ReLU())
    model.layers[0].register_forward_hook(lambda *_: None)
    return model


def shifted(value: float) -> nn.Module:
    norm = nn.BatchNorm2d(8)
    nn.init.constant_(norm.bias, 0.1)
    nn.init.constant_(norm.running_mean, value)  # type: ignore[arg-type]
    return Network(nn.Conv2d(8, 8, 3, bias=False), norm, nn.ReLU())


FOLLOWED: dict[str, Callable[[], nn.Module]] = {
    "resnet20": lambda: resnet20(SHAPE, 5),
    "biases": lambda: Network(nn.ReLU(), nn.Conv2d(8, 4, 1), nn.LeakyReLU(), channels=4),
    "strides and dilation": lambda: Network(
        nn.Conv2d(8, 8, 3, stride=(1, 2)),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 6, 3, padding=1, dilation=2),
        channels=6,
    ),
    "branches": lambda: Network(Branches(), nn.Dropout(), Branches()),
    "a pool of the size of the image": lambda: Network(Pooled()),
    "norms with shifts": lambda: shifted(0.0),
}

OTHERS: dict[str, Callable[[], nn.Module]] = {
    "maximum": lambda: Network(nn.MaxPool2d(2)),
    "a pool that leaves pixels out": lambda: Network(nn.AvgPool2d((7, 6))),
    "a pool with padding": lambda: Network(nn.AvgPool2d((12, 10), stride=20, padding=2)),
    "groups": lambda: Network(nn.Conv2d(8, 8, 3, groups=2)),
    "transposed": lambda: Network(nn.ConvTranspose2d(8, 8, 3)),
    "tied": tied,
    "hooked": hooked,
    "negative shifts": lambda: shifted(1.0),
    "a norm that is not behind a convolution": lambda: Network(nn.ReLU(), nn.BatchNorm2d(8)),
    "outputs before a norm": lambda: Network(Twice()),
    "places in the image": lambda: conv(SHAPE, 5),
    "no images": lambda: fc(SHAPE, 5),
}


def build(factory: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return factory().double()


@pytest.mark.parametrize("kind", [SynFlow, SynFlowL2])
@pytest.mark.parametrize("case", FOLLOWED)
def test_replayed_rounds_keep_the_same_weights(
    pose: Pose, replayed: list[int], case: str, kind: type[SynFlow]
) -> None:
    model, pruner = build(FOLLOWED[case]), kind(rounds=6)
    found = run_pruner(pruner, pose(model, SHAPE, num_classes=5), DENSITY).masks
    assert replayed == [5]
    plain = pose(model, SHAPE, num_classes=5)
    assert found == pruner.in_rounds(plain, DENSITY, pruner.score)


@pytest.mark.parametrize("case", OTHERS)
def test_other_networks_run_in_every_round(pose: Pose, replayed: list[int], case: str) -> None:
    model, pruner = build(OTHERS[case]), SynFlow(rounds=3)
    found = run_pruner(pruner, pose(model, SHAPE, num_classes=5), DENSITY).masks
    assert not replayed
    plain = pose(model, SHAPE, num_classes=5)
    assert found == pruner.in_rounds(plain, DENSITY, pruner.score)


@pytest.mark.parametrize(
    "options",
    [
        PruningOptions(scope="local"),
        PruningOptions(prune_bias=True),
        PruningOptions(prune_batchnorm=True),
        PruningOptions(skip=("classifier",)),
    ],
    ids=["local", "biases", "batch norms", "no classifier"],
)
def test_other_options_run_in_every_round(pose: Pose, replayed: list[int], options: PruningOptions) -> None:
    model, pruner = build(FOLLOWED["norms with shifts"]), SynFlow(rounds=3)
    found = run_pruner(pruner, pose(model, SHAPE, num_classes=5, options=options), DENSITY).masks
    assert not replayed
    plain = pose(model, SHAPE, num_classes=5, options=options)
    assert found == pruner.in_rounds(plain, DENSITY, pruner.score)


def test_rounds_that_underflow_go_on_in_float64(pose: Pose, replayed: list[int]) -> None:
    model = build(FOLLOWED["resnet20"]).float()
    with torch.no_grad():
        model.get_parameter("stem.conv.weight").mul_(1e-20)
        model.get_parameter("classifier.weight").mul_(1e-28)
    pruned = run_pruner(SynFlow(rounds=30), pose(model, SHAPE, num_classes=5), 0.002)
    assert 0 < replayed[0] < 29
    assert (pruned.score_dtype, pruned.masks.kept) == ("float64", round(0.002 * pruned.masks.size))
