"""Masks on a device: those of the CPU, of exactly the size that is asked for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from synflow_bench.host import Host
from synflow_bench.pruning import Masks, Problem, run_pruner
from synflow_bench.training import make_repeatable

HOST = Host.load(report=lambda _: None)
NAMES = sorted(entry.name for entry in HOST.pruners.entries() if entry.distribution == "synflow-bench")
SHAPE, CLASSES, DENSITY = (1, 12, 12), 5, 1 / 7
LEAST_OVERLAP = 0.995
NO_GPU = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA device; this machine has none"
)


def network(widths: tuple[int, ...]) -> nn.Module:
    """Convolutions with batch norm, pooling and a linear classifier."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inputs, outputs in zip((1, *widths), widths, strict=False):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], CLASSES))


def masks_on(device: torch.device, name: str, dtype: torch.dtype, widths: tuple[int, ...]) -> Masks:
    """Prune a network that is the same on every device."""
    pruner = HOST.pruners.get(name)()
    model = network(widths).to(device, dtype)
    draw = torch.Generator().manual_seed(1)
    inputs = torch.randn(20, *SHAPE, generator=draw).to(device, dtype)
    problem = Problem.of(
        model,
        input_shape=SHAPE,
        num_classes=CLASSES,
        generator=torch.Generator().manual_seed(2),
        examples=(inputs, torch.arange(20, device=device) % CLASSES) if pruner.needs_data else None,
    )
    masks = run_pruner(pruner, problem, DENSITY).masks
    assert {mask.device.type for mask in masks.values()} == {device.type}
    return masks.to("cpu")


def overlap(first: Masks, second: Masks) -> float:
    """Return the share of kept weights that both masks keep."""
    both = sum(int((first[name] & second[name]).sum()) for name in first)
    return both / first.kept


@pytest.mark.parametrize(
    ("device", "name"),
    [
        *(("cpu", name) for name in ("magnitude", "phew", "snip", "synflow")),
        *(pytest.param("cuda", name, marks=[pytest.mark.gpu, NO_GPU]) for name in NAMES),
    ],
    indirect=["device"],
)
def test_masks_of_float64_scores_are_those_of_the_cpu(name: str, device: torch.device) -> None:
    expected = masks_on(torch.device("cpu"), name, torch.float64, (4, 8))
    found = masks_on(device, name, torch.float64, (4, 8))
    assert found.kept == round(found.size * DENSITY)
    assert found == expected


@pytest.mark.gpu
@NO_GPU
@pytest.mark.parametrize("name", NAMES)
def test_masks_of_float32_scores_are_nearly_those_of_the_cpu(name: str) -> None:
    nearly_equal(name, torch.device("cuda"))


@pytest.mark.parametrize("name", ["snip", "synflow"])
def test_masks_of_float32_scores_are_compared_with_those_of_the_cpu(name: str) -> None:
    nearly_equal(name, torch.device("cpu"))


def nearly_equal(name: str, device: torch.device) -> None:
    make_repeatable(device, 1)
    expected = masks_on(torch.device("cpu"), name, torch.float32, (32, 32))
    found = masks_on(device, name, torch.float32, (32, 32))
    assert found.kept == round(found.size * DENSITY)
    assert overlap(found, expected) >= LEAST_OVERLAP
