"""Problems for the pruners, on one thread: two are slower on networks of this size."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import pytest
import torch
from torch import Tensor, nn

from synflow_bench.pruning import Problem, Pruner
from synflow_bench_pruners.npb import Npb
from synflow_bench_pruners.plugin import synflow_bench_pruners


@pytest.fixture(autouse=True)
def _on_one_thread(one_thread: None) -> None:
    """Two are slower on networks of this size."""


@pytest.fixture(scope="session")
def pruner_class() -> Callable[[str], type[Pruner]]:
    """The class that is registered under a name."""

    def load(name: str) -> type[Pruner]:
        module, _, attribute = synflow_bench_pruners()[name].partition(":")
        kind: type[Pruner] = getattr(import_module(module), attribute)
        return kind

    return load


@pytest.fixture(scope="session")
def pose() -> Callable[..., Problem]:
    """Poses the problem of pruning a network: `pose(net, (4,))`, `pose(net, (3, 32, 32), seed=1)`."""

    def pose(model: nn.Module, input_shape: tuple[int, ...], *, seed: int = 0, **rest: object) -> Problem:
        generator = torch.Generator().manual_seed(seed)
        return Problem.of(
            model,
            input_shape=input_shape,
            generator=generator,
            **{"num_classes": 3, **rest},  # type: ignore[arg-type]
        )

    return pose


@pytest.fixture(scope="session")
def balance_of() -> Callable[[Npb, Tensor, Tensor], float]:
    """The objective of `npb` for the mask (outputs, inputs, kernel) of a layer and its numbers of paths."""

    def balance_of(pruner: Npb, mask: Tensor, paths: Tensor) -> float:
        numbers = mask.sum(-1)
        outputs, inputs = numbers.shape
        kept, size = int(numbers.sum()), mask[:, 0].numel()
        reached = int((numbers.sum(0) > 0).sum()) + int((numbers.sum(1) > 0).sum())
        most = float(paths.repeat_interleave(size).sort(descending=True).values[:kept].sum())
        return (
            pruner.alpha * reached / (inputs + outputs)
            + (1 - pruner.alpha) * float((numbers * paths).sum()) / most
            + pruner.beta * (kept - int((numbers == 0).sum())) / kept
        )

    return balance_of
