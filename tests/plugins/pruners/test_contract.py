"""What the harness expects of every pruner that comes with it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

import pytest
import torch
from torch import nn

from synflow_bench.pruning import Problem, Pruner, run_pruner
from synflow_bench.suites import PruningOptions
from synflow_bench_pruners.plugin import synflow_bench_pruners

NAMES = sorted(synflow_bench_pruners())
Pose = Callable[..., Problem]
ClassOf = Callable[[str], type[Pruner]]


def net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))


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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("name", NAMES)
def test_masks_on_a_gpu_are_those_of_the_cpu(name: str, pruner_class: ClassOf, pose: Pose) -> None:
    pruner, model = pruner_class(name)(), net().double()
    on_cpu = run_pruner(pruner, posed(pose, pruner, model), 1 / 7).masks
    on_gpu = run_pruner(pruner, posed(pose, pruner, model.cuda()), 1 / 7).masks
    assert {mask.device.type for mask in on_gpu.values()} == {"cuda"}
    assert on_gpu.to("cpu") == on_cpu


@pytest.mark.parametrize("name", NAMES)
def test_says_in_its_docstring_what_it_scores(name: str, pruner_class: ClassOf) -> None:
    text = inspect.getdoc(pruner_class(name)) or ""
    assert len(text) > 20
    assert name in {"random", "magnitude"} or re.search(r"arXiv\s+\d{4}\.\d{5}", text)
