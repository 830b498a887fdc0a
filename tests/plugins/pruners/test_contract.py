"""The contract that every pruner of synflow-bench keeps: exact numbers, nothing else pruned, repeatable."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from synflow_bench.host import Host
from synflow_bench.metrics import measure_size
from synflow_bench.pruning import Masks, Problem, Pruner, ResidualScale, resolve_pruner, run_pruner
from synflow_bench.suites import PrunerSpec, PruningOptions
from synflow_bench_pruners.plugin import synflow_bench_pruners

NAMES = sorted(synflow_bench_pruners())
Pose = Callable[..., Problem]
ClassOf = Callable[[str], type[Pruner]]
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


def net() -> nn.Sequential:
    """Small, with the first and last layers small enough for every method to be defined."""
    layers = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 8, 3), nn.ReLU()
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))


def posed(pose: Pose, pruner: Pruner, model: nn.Module, **rest: object) -> Problem:
    device = next(model.parameters()).device
    inputs = torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(0)).to(device)
    examples = (inputs, (torch.arange(12) % 3).to(device)) if pruner.needs_data else None
    return pose(model, (1, 8, 8), examples=examples, **rest)


def test_the_five_of_the_paper_are_registered() -> None:
    assert {"random", "magnitude", "snip", "grasp", "synflow"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "options", [{}, {"prune_bias": True, "prune_batchnorm": True, "scope": "local"}], ids=str
)
def test_prunes_to_the_exact_density_with_every_option(
    name: str, options: dict[str, object], pruner_class: ClassOf, pose: Pose
) -> None:
    pruner = pruner_class(name)()
    problem = posed(pose, pruner, net(), options=PruningOptions.model_validate(options))
    masks = run_pruner(pruner, problem, 1 / 7).masks
    assert masks.kept == round(masks.size / 7)


@pytest.mark.parametrize("name", NAMES)
def test_is_repeatable_to_the_bit(name: str, pruner_class: ClassOf, pose: Pose) -> None:
    pruner, model = pruner_class(name)(), net()
    first, second = (run_pruner(pruner, posed(pose, pruner, model), 1 / 7).masks for _ in range(2))
    assert first == second


@pytest.mark.parametrize("name", NAMES)
def test_its_docstring_is_one_short_line_and_names_its_paper(name: str, pruner_class: ClassOf) -> None:
    text = inspect.getdoc(pruner_class(name)) or ""
    first, *rest = text.splitlines()
    assert 20 < len(first) <= 60
    assert rest[0] == ""
    assert name == "random" or re.search(r"arXiv \d{4}\.\d{5}", text)


@pytest.mark.parametrize("name", ["random", "magnitude", "snip", "grasp", "synflow"])
def test_scores_are_taken_whole_on_the_device_of_the_network(name: str) -> None:
    with torch.device("meta"):
        layers = (nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
        model = nn.Sequential(*layers)
        examples = torch.empty(9, 2, 4, 4), torch.empty(9, dtype=torch.int64)
    pruner, _ = resolve_pruner(Host.load().pruners.get(name), PrunerSpec(name=name))
    problem = Problem.of(
        model,
        input_shape=(2, 4, 4),
        num_classes=3,
        generator=torch.Generator(),
        options=PruningOptions(prune_bias=True, prune_batchnorm=True),
        examples=examples,
    )
    scores = pruner.score(problem)
    assert scores.keys() == problem.parameters.keys()
    for layer, score in scores.items():
        assert score.device.type == "meta"
        assert score.shape == problem.parameters[layer].shape


class CalledTwice(nn.Module):
    """A layer that is used twice, under one name."""

    def __init__(self, first: nn.Module, shared: nn.Module, last: nn.Module) -> None:
        super().__init__()
        self.first, self.shared, self.last = first, shared, last

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.shared(self.shared(self.first(x).relu()).relu()).relu()
        logits: Tensor = self.last(hidden.flatten(1))
        return logits


@pytest.mark.parametrize("name", NAMES)
def test_a_module_with_two_names_is_pruned_like_one_that_is_called_twice(
    name: str, pruner_class: ClassOf, pose: Pose
) -> None:
    first, shared, last = nn.Conv2d(1, 4, 5), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(64, 3)
    named = nn.Sequential(first, nn.ReLU(), shared, nn.ReLU(), shared, nn.ReLU(), nn.Flatten(), last)
    pruner, models = pruner_class(name)(), (named, CalledTwice(first, shared, last))
    by_name, by_call = (run_pruner(pruner, posed(pose, pruner, model), 1 / 2).masks for model in models)
    assert all(torch.equal(*masks) for masks in zip(by_name.values(), by_call.values(), strict=True))


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
