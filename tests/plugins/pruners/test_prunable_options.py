"""Every pruner with everything that can be pruned: exact numbers, and nothing but what was asked for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from synflow_bench.metrics import measure_size
from synflow_bench.pruning import Masks, Problem, Pruner, ResidualScale, run_pruner
from synflow_bench.suites import PruningOptions
from synflow_bench_pruners.plugin import synflow_bench_pruners

NAMES = sorted(synflow_bench_pruners())
SHAPE = (1, 8, 8)
WEIGHTS = {"stem.weight": 9 * 6, "block.conv.weight": 9 * 6 * 6, "classifier.weight": 6 * 3}
ADDS = {
    "prune_bias": {"stem.bias": 6, "classifier.bias": 3},
    "prune_batchnorm": {"bn.weight": 6, "bn.bias": 6},
    "prune_residual": {"block.shortcut.scale": 6},
}
"""Option -> the tensors that it adds, and their sizes."""
ALL = dict.fromkeys(ADDS, True)
CHOICES = [("global", choice) for choice in ({}, *({option: True} for option in ADDS), ALL)] + [
    ("local", ALL)
]


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.shortcut = ResidualScale(6)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x) + self.shortcut(x)
        return out.relu()


class Residual(nn.Module):
    """One of everything that can be pruned."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3, padding=1)
        self.bn = nn.BatchNorm2d(6)
        self.block = Block()
        self.classifier = nn.Linear(6, 3)
        for bias in (self.stem.bias, self.bn.bias, self.classifier.bias):
            nn.init.uniform_(bias, -0.1, 0.1)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.block(self.bn(self.stem(x)).relu())
        logits: Tensor = self.classifier(hidden.mean((2, 3)))
        return logits


def pruned(
    name: str,
    options: dict[str, bool | str],
    pruner_class: Callable[[str], type[Pruner]],
    pose: Callable[..., Problem],
    density: float = 0.2,
) -> tuple[nn.Module, Masks]:
    torch.manual_seed(0)
    pruner, model = pruner_class(name)(), Residual()
    inputs = torch.randn(12, *SHAPE, generator=torch.Generator().manual_seed(0))
    examples = (inputs, torch.arange(12) % 3) if pruner.needs_data else None
    problem = pose(model, SHAPE, options=PruningOptions.model_validate(options), examples=examples)
    return model, run_pruner(pruner, problem, density).masks


@pytest.mark.parametrize(
    ("scope", "choice"),
    CHOICES,
    ids=lambda part: part if isinstance(part, str) else "+".join(part) or "weights",
)
@pytest.mark.parametrize("name", NAMES)
def test_keeps_exactly_as_many_of_what_may_be_pruned(
    name: str, scope: str, choice: dict[str, bool], pruner_class: object, pose: object
) -> None:
    expected = dict(WEIGHTS)
    for option in choice:
        expected |= ADDS[option]
    model, masks = pruned(name, {**choice, "scope": scope}, pruner_class, pose)  # type: ignore[arg-type]
    assert {tensor: mask.numel() for tensor, mask in masks.items()} == expected
    total = sum(expected.values())
    assert masks.kept == round(0.2 * total)
    size = measure_size(model, masks, {})
    assert {layer.name: layer.size for layer in size.layers} == expected
    assert size.density == pytest.approx(round(0.2 * total) / total)
    assert size.compression == pytest.approx(total / round(0.2 * total))


@pytest.mark.parametrize("name", NAMES)
def test_a_dense_classifier_is_left_out_of_all_counts(name: str, pruner_class: object, pose: object) -> None:
    choice = {**dict.fromkeys(ADDS, True), "dense_classifier": True}
    _, masks = pruned(name, choice, pruner_class, pose)  # type: ignore[arg-type]
    assert not {"classifier.weight", "classifier.bias"} & masks.keys()
    assert masks.kept == round(0.2 * masks.size)
