"""Small problems, on one thread: two are slower on networks of this size."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn

from synflow_bench.pruning import Problem

Pose = Callable[..., Problem]


@pytest.fixture(autouse=True)
def _on_one_thread(one_thread: None) -> None:
    """Two are slower on networks of this size."""


@pytest.fixture
def net() -> nn.Sequential:
    """4 -> 5 -> 3, with 35 prunable weights."""
    return seeded(lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)))


@pytest.fixture
def pose() -> Pose:
    """Poses the problem of pruning a network: `pose(net)`, `pose(net, options=...)`."""

    def pose(
        model: nn.Module, input_shape: tuple[int, ...] = (4,), num_classes: int = 3, **rest: object
    ) -> Problem:
        generator = torch.Generator().manual_seed(0)
        return Problem.of(
            model,
            input_shape=input_shape,
            num_classes=num_classes,
            generator=generator,
            **rest,  # type: ignore[arg-type]
        )

    return pose


@pytest.fixture
def scores_of() -> Callable[[Mapping[str, Tensor]], dict[str, Tensor]]:
    """Scores without ties for given parameters: a permutation of 1..N over N."""

    def scores(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        size = sum(p.numel() for p in parameters.values())
        row = (torch.randperm(size, generator=torch.Generator().manual_seed(1)) + 1.0) / size
        parts = row.split([p.numel() for p in parameters.values()])  # type: ignore[no-untyped-call]
        return {n: part.view(p.shape) for (n, p), part in zip(parameters.items(), parts, strict=True)}

    return scores


def seeded(build: Callable[[], nn.Sequential]) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build()
